"""The Python package: every method of Functions and Proxy, and the variables of Project, as they succeed and as they are refused.

Its models are strict: a null in a required member, or a word that an enum lacks, is an exception.
"""

import inspect
import os
import time

from appwrite.client import Client
from appwrite.enums.execution_method import ExecutionMethod
from appwrite.enums.invalidation_type import InvalidationType
from appwrite.enums.proxy_resource_type import ProxyResourceType
from appwrite.enums.runtime import Runtime
from appwrite.enums.status_code import StatusCode
from appwrite.enums.template_reference_type import TemplateReferenceType
from appwrite.enums.vcs_reference_type import VCSReferenceType
from appwrite.exception import AppwriteException
from appwrite.id import ID
from appwrite.input_file import InputFile
from appwrite.query import Query
from appwrite.services.functions import Functions
from appwrite.services.project import Project
from appwrite.services.proxy import Proxy


class Watched:
    """The same service, which notes the methods that are called."""

    def __init__(self, service):
        self.service, self.called = service, set()

    def __getattr__(self, name):
        self.called.add(name)
        return getattr(self.service, name)

    def all_called(self):
        members = inspect.getmembers(type(self.service), inspect.isfunction)
        own = {name for name, member in members if name in type(self.service).__dict__ and not name.startswith("_")}
        assert own <= self.called, f"not called: {sorted(own - self.called)}"
        print(f"{type(self.service).__name__}: {len(own)} methods called")


def refused(code, kind, call, named=""):
    try:
        answer = call()
    except AppwriteException as error:
        assert (error.code, error.type) == (code, kind), f"{error.code} {error.type}: {error.message}"
        assert named in error.message, f"{named!r} is not in {error.message}"
        return
    raise AssertionError(f"not refused, {code} {kind} was expected: {answer}")


def until(what, ask):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        found = ask()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited in vain: {what}")


def word(value):
    return getattr(value, "value", value)


def client(key=None):
    found = Client()
    found.set_endpoint(os.environ["LARDER_ENDPOINT"]).set_project(os.environ["LARDER_PROJECT"])
    found.set_key(key or os.environ["LARDER_KEY"])
    return found


def content(name):
    with open(os.environ[name], "rb") as file:
        return file.read()


component, archive, large = (content(name) for name in ("LARDER_COMPONENT", "LARDER_ARCHIVE", "LARDER_LARGE"))
f = Watched(Functions(client()))
id = "python"


def built(deployment):
    def ended():
        found = f.get_deployment(id, deployment.id)
        return found if word(found.status) in ("ready", "failed", "canceled") else None

    found = until("a build", ended)
    assert word(found.status) == "ready", found.buildlogs
    return found


def file(content, name):
    return InputFile.from_bytes(content, name)


# Functions.
made = f.create(id, "Python", Runtime.STATIC_1, execute=["any"], timeout=20)
assert (made.id, word(made.runtime), made.timeout) == (id, "static-1", 20), made
refused(409, "function_already_exists", lambda: f.create(id, "P", Runtime.STATIC_1))
refused(400, "general_argument_invalid", lambda: f.create("-x", "P", Runtime.STATIC_1), "functionId")
refused(400, "general_argument_invalid", lambda: f.create("x", "P", Runtime.PYTHON_3_12), "runtime")
generated = f.create(ID.unique(), "Generated", Runtime.STATIC_1)
assert f.list([Query.equal("name", ["Python"])]).total == 1
refused(400, "general_argument_invalid", lambda: f.list([Query.equal("nothing", ["x"])]), "nothing")
assert f.get(id).name == "Python"
refused(404, "function_not_found", lambda: f.get("none"))
assert f.update(id, "Python 2", execute=["any"]).timeout == 15
refused(404, "function_not_found", lambda: f.update("none", "x"))
assert any(runtime.id == "wasi-0.2" for runtime in f.list_runtimes().runtimes)
assert f.list_specifications().total > 0

# Deployments: whole, in chunks, as an archive.
first = f.create_deployment(id, file(component, "app.wasm"), True)
built(first)
steps = []
chunked = f.create_deployment(id, file(large, "large.wasm"), False, on_progress=steps.append)
assert chunked.sourcesize == len(large), chunked
built(chunked)
assert f.get_deployment_download(id, chunked.id) == large
packed = f.create_deployment(id, file(archive, "code.tar.gz"), False, entrypoint="app.wasm")
assert "archive" in built(packed).buildlogs
assert f.get_deployment_download(id, packed.id) == archive
refused(
    400,
    "storage_file_type_unsupported",
    lambda: f.create_deployment(id, file(component, "app.zip"), True),
    "app.zip",
)
assert f.list_deployments(id, [Query.equal("status", ["ready"])]).total == 3
refused(404, "deployment_not_found", lambda: f.get_deployment(id, "none"))
refused(404, "deployment_not_found", lambda: f.get_deployment_download(id, "none"))
assert f.update_function_deployment(id, packed.id).deploymentid == packed.id
refused(404, "deployment_not_found", lambda: f.update_function_deployment(id, "none"))
refused(400, "build_already_completed", lambda: f.update_deployment_status(id, first.id))
built(f.create_duplicate_deployment(id, packed.id))
refused(404, "deployment_not_found", lambda: f.create_duplicate_deployment(id, "none"))
branch = next(kind for kind in TemplateReferenceType if kind.value == "branch")
refused(405, "general_not_implemented", lambda: f.create_template_deployment(id, "r", "o", ".", branch, "main"))
branch = next(kind for kind in VCSReferenceType if kind.value == "branch")
refused(405, "general_not_implemented", lambda: f.create_vcs_deployment(id, branch, "main"))
f.delete_deployment(id, chunked.id)
refused(404, "deployment_not_found", lambda: f.delete_deployment(id, chunked.id))

# Executions.
run = f.create_execution(id, path="/hello?name=Anna", method=ExecutionMethod.GET)
assert (word(run.status), run.responsestatuscode, run.resourceid) == ("completed", 200, id), run
assert "Anna" in run.responsebody
later = f.create_execution(id, xasync=True, scheduled_at="2099-01-01T00:00:00.000+00:00")
assert word(later.status) == "scheduled", later
refused(404, "deployment_not_found", lambda: f.create_execution(generated.id))
assert f.list_executions(id, [Query.equal("requestMethod", ["GET"])]).total == 1
assert f.get_execution(id, run.id).id == run.id
refused(404, "execution_not_found", lambda: f.get_execution(id, "none"))
f.delete_execution(id, later.id)
refused(404, "execution_not_found", lambda: f.delete_execution(id, later.id))

# Variables, of the function and of the project.
p = Watched(Project(client()))
for service, owner, kind in ((f, (id,), "function"), (p, (), "project")):
    variable = service.create_variable(*owner, "greeting", "GREETING", kind, False)
    assert (variable.value, variable.resourcetype) == (kind, kind), variable
    refused(409, "variable_already_exists", lambda: service.create_variable(*owner, "other", "GREETING", "x"))
    refused(400, "general_argument_invalid", lambda: service.create_variable(*owner, "other", "A=B", "x"), "key")
    assert service.list_variables(*owner, [Query.equal("resourceType", [kind])]).total == 1
    assert service.get_variable(*owner, "greeting").key == "GREETING"
    refused(404, "variable_not_found", lambda: service.get_variable(*owner, "none"))
    assert service.update_variable(*owner, "greeting", value="new", secret=True).value == ""
    refused(
        400,
        "variable_cannot_unset_secret",
        lambda: service.update_variable(*owner, "greeting", secret=False),
    )
    service.delete_variable(*owner, "greeting")
    refused(404, "variable_not_found", lambda: service.delete_variable(*owner, "greeting"))

# Domains.
r = Watched(Proxy(client()))
domain = "python.functions.localhost"
rule = r.create_function_rule(domain, id)
assert (rule.domain, word(rule.status), rule.deploymentresourceid) == (domain, "verified", id), rule
refused(409, "rule_already_exists", lambda: r.create_function_rule(domain, id))
refused(404, "rule_resource_not_found", lambda: r.create_function_rule(f"x{domain}", "none"))
refused(400, "general_argument_invalid", lambda: r.create_function_rule("bank", id), "domain")
assert r.list_rules([Query.equal("domain", [domain])]).total == 1
assert r.get_rule(rule.id).domain == domain
assert word(r.update_rule_status(rule.id).status) == "verified"
refused(404, "rule_not_found", lambda: r.get_rule("none"))
moved, function = next(iter(StatusCode)), next(kind for kind in ProxyResourceType if kind.value == "function")
everything = next(iter(InvalidationType))
for call in (
    lambda: r.create_smtp_rule("bank.example", id),
    lambda: r.create_redirect_rule("bank.example", "https://bank.example", moved, id, function),
):
    refused(405, "general_not_implemented", call)
# Domains of the project's own, which nobody has proved.
for own in (r.create_api_rule("api.bank.example"), r.create_site_rule("www.bank.example", os.environ["LARDER_PROJECT"])):
    assert word(own.status) == "unverified", own
    refused(400, "rule_verification_failed", lambda: r.update_rule_status(own.id))
    r.delete_rule(own.id)
refused(404, "rule_resource_not_found", lambda: r.create_site_rule("bank.example", "x"))
refused(404, "general_route_not_found", lambda: r.create_invalidation(domain, everything))
r.delete_rule(rule.id)
refused(404, "rule_not_found", lambda: r.delete_rule(rule.id))

# Callers that may not.
wrong = os.environ["LARDER_KEY"][:-4] + "0000"
refused(401, "user_unauthorized", lambda: Functions(client(wrong)).list())
refused(401, "general_unauthorized_scope", lambda: Functions(client("standard_nonsense")).list())
refused(404, "project_not_found", lambda: Functions(client().set_project("nowhere")).list())

f.delete(generated.id)
f.delete(id)
refused(404, "function_not_found", lambda: f.delete(id))
f.all_called()
r.all_called()
