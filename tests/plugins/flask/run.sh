# Flask with Flask-Session on Redis: it rewrites the whole value on every request.
. "$HERE/lib.sh"
pip_packages flask Flask==3.1.2 Flask-Session==0.8.0 msgspec==0.19.0 redis==8.1.0
PYTHONPATH=$HERE "$CACHE/flask/bin/python" "$HERE/flask/test.py"
