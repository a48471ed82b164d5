# Django's own suites for the Redis cache and for sessions kept in a cache: 202 tests, taken from its source package.
. "$HERE/lib.sh"
version=5.2.19
pip_packages django Django==$version redis==8.1.0
source=$CACHE/django-source-$version
if [ ! -e "$source/complete" ]; then
    rm -rf "$source"
    mkdir -p "$source"
    (cd "$source" && "$CACHE/django/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary :all: Django==$version)
    tar -xzf "$source"/*.tar.gz -C "$source" --strip-components=1
    touch "$source/complete"
fi
export HERE
PYTHONPATH=$HERE "$CACHE/django/bin/python" "$HERE/django-suites/suites.py" "$source/tests"
