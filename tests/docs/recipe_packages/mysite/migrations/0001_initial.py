from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [  # noqa: RUF012
        migrations.CreateModel(
            "StoredMessage",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("session", models.TextField(db_index=True)),
                ("text", models.TextField()),
            ],
        )
    ]
