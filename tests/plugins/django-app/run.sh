# A Django application with sessions in the cache, used over HTTP by Django's live server.
. "$HERE/lib.sh"
pip_packages django Django==5.2.19 redis==8.1.0
PYTHONPATH=$HERE "$CACHE/django/bin/python" "$HERE/django-app/test.py"
