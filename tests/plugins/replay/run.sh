# What the session plugins that cannot run here send, command by command, against the server and against Redis.
PYTHONPATH=$HERE python3 "$HERE/replay/test.py"
