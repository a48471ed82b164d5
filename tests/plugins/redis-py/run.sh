# redis-py 8 as applications use it.
. "$HERE/lib.sh"
pip_packages redis-py redis==8.1.0
PYTHONPATH=$HERE "$CACHE/redis-py/bin/python" "$HERE/redis-py/test.py"
