"""Login, page views and logout over real HTTP, with both session engines that use the cache."""

import http.cookiejar
import json
import threading
import urllib.error
import urllib.request
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings
from django.http import JsonResponse
from django.urls import path
from harness import Server, check, finish

server = Server().start()
settings.configure(
    ALLOWED_HOSTS=["*"],
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": f"redis://127.0.0.1:{server.port}",
        }
    },
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    INSTALLED_APPS=["django.contrib.sessions"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{server.folder}.sqlite"}},
    ROOT_URLCONF=__name__,
    SECRET_KEY="test",
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    SESSION_COOKIE_AGE=1800,
)
django.setup()


def login(request, user):
    request.session.cycle_key()
    request.session["user"] = user
    request.session["views"] = 0
    return JsonResponse({})


def visit(request):
    if "user" not in request.session:
        return JsonResponse({}, status=401)
    request.session["views"] += 1
    return JsonResponse(dict(request.session.items()))


def logout(request):
    request.session.flush()
    return JsonResponse({})


urlpatterns = [path("login/<user>", login), path("visit", visit), path("logout", logout)]


class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        """The list of requests would only hide the checks."""


from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402

call_command("migrate", verbosity=0)
web = make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Quiet)
threading.Thread(target=web.serve_forever, daemon=True).start()


class Browser:
    def __init__(self):
        self.jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def get(self, where):
        try:
            with self.opener.open(f"http://127.0.0.1:{web.server_port}/{where}", timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, {}


def restart():
    server.kill()
    server.start()


def use(engine):
    # The middleware reads the engine's name when it is made.
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    web.set_app(get_wsgi_application())


def a_day_of(engine):
    use(engine)
    browser = Browser()
    browser.get("login/ada")
    assert browser.get("visit") == (200, {"user": "ada", "views": 1})
    restart()
    assert browser.get("visit") == (200, {"user": "ada", "views": 2})
    thief = Browser()
    for cookie in browser.jar:
        thief.jar.set_cookie(cookie)
    browser.get("logout")
    assert thief.get("visit")[0] == 401
    restart()
    assert thief.get("visit")[0] == 401


@check
def sessions_in_the_cache_survive_kill_and_logouts_are_final():
    a_day_of("cache")


@check
def sessions_in_cache_and_database_survive_kill_and_logouts_are_final():
    a_day_of("cached_db")


@check
def every_login_before_a_kill_is_kept():
    use("cache")
    browsers = [Browser() for _ in range(40)]
    for n, browser in enumerate(browsers):
        browser.get(f"login/user{n}")
    restart()
    for n, browser in enumerate(browsers):
        assert browser.get("visit") == (200, {"user": f"user{n}", "views": 1})


server.kill()
finish()
