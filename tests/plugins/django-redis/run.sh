# django-redis' own suite: 165 tests, taken from its source package, unmodified.
. "$HERE/lib.sh"
version=7.0.0
pip_packages django-redis django-redis==$version redis==8.1.0 Django==5.2.19 pytest==9.2.0 pytest-mock==3.17.0 pytest-xdist==3.8.0 msgpack==1.2.4 lz4==4.4.5 pyzstd==0.20.0
source=$CACHE/django-redis-source-$version
if [ ! -e "$source/complete" ]; then
    rm -rf "$source"
    mkdir -p "$source"
    (cd "$source" && "$CACHE/django-redis/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary :all: django-redis==$version)
    tar -xzf "$source"/*.tar.gz -C "$source" --strip-components=1
    # The tests are of the installed package, not of the folder beside them.
    rm -rf "$source/django_redis"
    touch "$source/complete"
fi
PYTHONPATH=$HERE "$CACHE/django-redis/bin/python" "$HERE/django-redis/suite.py" "$source"
