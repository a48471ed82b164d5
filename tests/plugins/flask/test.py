"""A Flask application with server-side sessions, used by its test client, the server killed in between."""

import redis
from flask import Flask, session
from flask_session import Session
from harness import Server, check, finish

server = Server().start()
client = redis.Redis(port=server.port)

app = Flask(__name__)
app.config.update(SESSION_TYPE="redis", SESSION_REDIS=client, PERMANENT_SESSION_LIFETIME=1800)
Session(app)


@app.get("/add/<item>")
def add(item):
    session.setdefault("basket", []).append(item)
    session.modified = True
    return {"basket": session["basket"]}


@app.get("/look")
def look():
    return {"basket": session.get("basket")}


@app.get("/logout")
def logout():
    session.clear()
    return {}


browser = app.test_client()


def key():
    return client.keys("session:*")[0]


@check
def a_basket_grows():
    assert browser.get("/add/apple").json == {"basket": ["apple"]}
    assert browser.get("/add/pear").json == {"basket": ["apple", "pear"]}


@check
def a_view_that_changes_nothing_slides_the_lifetime():
    client.expire(key(), 100)
    browser.get("/look")
    assert 1790 < client.ttl(key()) <= 1800, client.ttl(key())


@check
def the_basket_survives_kill():
    server.kill()
    server.start()
    assert browser.get("/look").json == {"basket": ["apple", "pear"]}


@check
def logout_is_final_also_after_kill():
    browser.get("/logout")
    server.kill()
    server.start()
    assert browser.get("/look").json == {"basket": None}


server.kill()
finish()
