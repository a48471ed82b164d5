# Shared by the suites' run.sh: package installation, once per version list.

set -euo pipefail

# npm_packages NAME PACKAGE@VERSION...: prints nothing, leaves $CACHE/NAME/node_modules.
npm_packages() {
    local folder=$CACHE/$1 wanted
    shift
    wanted="$*"
    if [ "$(cat "$folder/installed" 2>/dev/null)" != "$wanted" ]; then
        rm -rf "$folder"
        mkdir -p "$folder"
        echo '{"private": true, "type": "module"}' >"$folder/package.json"
        (cd "$folder" && npm install --no-audit --no-fund --no-package-lock --loglevel=error "$@")
        echo "$wanted" >"$folder/installed"
    fi
}

# pip_packages NAME PACKAGE==VERSION...: leaves a virtual environment in $CACHE/NAME.
pip_packages() {
    local folder=$CACHE/$1 wanted
    shift
    wanted="$*"
    if [ "$(cat "$folder/installed" 2>/dev/null)" != "$wanted" ]; then
        rm -rf "$folder"
        python3 -m venv "$folder"
        "$folder/bin/pip" install --quiet --disable-pip-version-check "$@"
        echo "$wanted" >"$folder/installed"
    fi
}
