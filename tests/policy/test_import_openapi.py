import re

from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.catalogue import Service
from proxy.policy.fact import FactField, FactType, Place
from proxy.policy.import_openapi import Imported, Wanted, import_openapi
from proxy.policy.operation import Group
from proxy.policy.service_file import parse_service

PETS = {
    "openapi": "3.0.3",
    "info": {"title": "Pet Store API", "contact": {"email": "pets@example.org"}},
    "servers": [{"url": "https://pets.example.org/v1/"}],
    "paths": {
        "/pets": {
            "get": {
                "operationId": "listPets",
                "parameters": [
                    {"name": "limit", "in": "query", "required": True, "schema": {"type": "integer"}},
                    {"name": "tag", "in": "query", "schema": {"type": "string"}},
                    {"$ref": "#/components/parameters/deep"},
                ],
            },
            "post": {
                "operationId": "pets/create",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}},
                },
            },
        },
        "/pets/{petId}": {
            "get": {},
            "delete": {"operationId": "PetsController_remove", "x-gatepass-group": "admin"},
            "trace": {},
        },
        "/pets/{name}": {"get": {"operationId": "byName"}},
        "/compare/{base}...{head}": {"get": {"operationId": "compare"}},
        "/search": {"post": {"operationId": "search", "x-gatepass-group": "reading"}},
        "/files/{file-name}/{file-name2}/": {"put": {"operationId": "files.put"}},
    },
    "components": {
        "parameters": {
            "deep": {"name": "filter", "in": "query", "required": True, "schema": {"type": "object"}},
        },
        "schemas": {
            "Pet": {
                "allOf": [{"$ref": "#/components/schemas/Named"}],
                "type": "object",
                "required": ["age", "owner", "price", "note"],
                "properties": {
                    "age": {"type": "integer"},
                    "price": {"type": "number"},
                    "note": {"type": "string", "nullable": True},
                    "owner": {
                        "type": "object",
                        "required": ["email"],
                        "properties": {"email": {"type": "string"}, "phone": {"type": "string"}},
                    },
                },
            },
            "Named": {"required": ["name"], "properties": {"name": {"type": "string"}}},
        },
    },
}


def imported(document, **wanted) -> Imported:
    result = import_openapi(document, Wanted(**wanted))
    assert isinstance(result, Imported), result
    return result


def service(result: Imported) -> Service:
    read = parse_service(result.text.encode(), "x.yaml")
    assert isinstance(read, Service), [str(problem) for problem in read]
    return read


def operations(result: Imported):
    found = {}
    for line in result.text.splitlines():
        if match := re.fullmatch(r"  (\S+): \{group: (\w+), method: (\w+), path: \"?([^\",]+)\"?.*\}", line):
            found[match[1]] = match.groups()[1:]
    return found


def test_operations():
    assert operations(imported(PETS)) == {
        "list_pets": ("read", "GET", "/v1/pets"),
        "pets.create": ("write", "POST", "/v1/pets"),
        "v1.pets.pet_id.get": ("read", "GET", "/v1/pets/{pet_id}"),
        "pets_controller_remove": ("admin", "DELETE", "/v1/pets/{pet_id}"),
        "search": ("write", "POST", "/v1/search"),
        "files.put": ("write", "PUT", "/v1/files/{file_name}/{file_name2}/"),
    }


def test_the_file_loads():
    read = service(imported(PETS))
    assert (read.name, read.hosts, read.owner) == ("pet-store", ("pets.example.org",), "pets@example.org")
    assert read.environments == ("development",)
    create = next(op for op in read.operations if op.id == "pet-store.pets.create")
    assert set(create.facts) == {
        FactField(Place.BODY, ("age",), FactType.LONG, required=True),
        FactField(Place.BODY, ("name",), FactType.STRING, required=True),
        FactField(Place.BODY, ("owner", "email"), FactType.STRING, required=True),
    }
    listed = next(op for op in read.operations if op.id == "pet-store.list_pets")
    assert listed.facts == (FactField(Place.QUERY, ("limit",), FactType.LONG, required=True),)


def test_what_is_left_out_is_said():
    assert sorted(imported(PETS).skipped) == [
        "GET /compare/{base}...{head}: a parameter shares its segment with other text",
        "GET /pets/{name}: it matches the same requests as GET /pets/{petId}",
        "GET /pets: no fact for the query parameter 'filter'",
        "POST /pets: no fact for the field 'note' of the content",
        "POST /pets: no fact for the field 'price' of the content",
        "POST /search: x-gatepass-group is none of read, write, delete, admin",
        "TRACE /pets/{petId}: the method is not relayed",
    ]


def test_what_is_said_on_the_command_line_wins():
    result = imported(
        PETS,
        name="zoo",
        owner="ada",
        data_owner="grace",
        sensitivity="confidential",
        environments=("staging",),
        hosts=("zoo.example.org", "*.zoo.example.org"),
        groups=(("pets_*", Group.DELETE), ("*", Group.READ)),
    )
    read = service(result)
    assert (read.name, read.owner, read.data_owner, read.sensitivity) == (
        "zoo",
        "ada",
        "grace",
        "confidential",
    )
    assert (read.hosts, read.environments) == (("zoo.example.org", "*.zoo.example.org"), ("staging",))
    assert operations(result)["pets_controller_remove"][0] == "delete"
    assert operations(result)["pets.create"][0] == "read"


def test_servers_become_hosts():
    regions = {
        "url": "https://{region}.example.org",
        "variables": {"region": {"enum": ["eu", "us"], "default": "eu"}},
    }
    other = {"url": "http://local.example.org:8080"}
    result = imported(
        PETS | {"servers": [regions, other, {"url": "/relative"}, {"url": "https://eu.example.org/v2"}]}
    )
    read = service(result)
    assert read.hosts == ("eu.example.org", "us.example.org", "local.example.org")
    assert (read.schemes, read.ports) == (("https", "http"), (443, 8080))
    assert [line for line in result.skipped if line.startswith("server")] == [
        "server /relative: not an http or https URL; say with --host where the API is",
        "server https://eu.example.org/v2: its paths begin with /v2, those of the first server with /",
    ]


def test_servers_of_one_path_are_left_out():
    paths = {"/a": {"servers": [{"url": "https://other.example.org"}], "get": {}}, "/b": {"get": {}}}
    result = imported(PETS | {"paths": paths})
    assert list(operations(result)) == ["v1.b.get"]
    assert "GET /a: it has servers of its own; give it a service of its own" in result.skipped


def test_what_is_no_such_document():
    for document, words in (
        (None, "not an OpenAPI document of version 3.0 or 3.1"),
        ([], "not an OpenAPI document of version 3.0 or 3.1"),
        ({"swagger": "2.0"}, "not an OpenAPI document of version 3.0 or 3.1: it says 2.0"),
        ({"openapi": "4.0.0"}, "not an OpenAPI document of version 3.0 or 3.1: it says 4.0.0"),
        ({"openapi": "3.1.0"}, "it names no server with a host; say with --host where the API is"),
    ):
        assert import_openapi(document, Wanted()) == words


def test_circles_end():
    loop = {"$ref": "#/components/schemas/A"}
    schema = {"required": ["a"], "properties": {"a": loop}, "allOf": [loop]}
    document = PETS | {
        "openapi": "3.1.0",
        "paths": {"/x": {"post": {"requestBody": {"content": {"application/json": {"schema": loop}}}}}},
        "components": {"schemas": {"A": schema, "B": {"$ref": "#/components/schemas/B"}}},
    }
    assert service(imported(document)).operations


def test_optional_content_has_optional_facts():
    schema = {"required": ["a", "b", "c"], "properties": {
        "a": {"type": ["string"]}, "b": {"type": ["string", "null"]}, "c": {"type": "array", "items": {"type": "string"}},
    }}  # fmt: skip
    body = {"content": {"application/json": {"schema": schema}}}
    result = imported(PETS | {"openapi": "3.1.0", "paths": {"/x": {"post": {"requestBody": body}}}})
    assert set(service(result).operations[0].facts) == {
        FactField(Place.BODY, ("a",), FactType.STRING, required=False),
        FactField(Place.BODY, ("c",), FactType.STRINGS, required=False),
    }


parts = st.sampled_from(
    ["a", "{b}", "{c-d}", "x{y}", "", "1", "%2F", "ü", "v1", "{}", "{x}", "{x}{y}", "a b", ".."]
)
paths = st.lists(parts, max_size=4).map(lambda found: "/" + "/".join(found))
methods = st.sampled_from(["get", "head", "post", "put", "delete", "options", "trace", "parameters"])
schemas = st.recursive(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["string", "integer", "boolean", "array", "object", "number"])}
    ),
    lambda inner: st.fixed_dictionaries(
        {
            "type": st.just("object"),
            "required": st.lists(st.sampled_from(["a", "b.c", "d"])),
            "properties": st.dictionaries(st.sampled_from(["a", "b.c", "d"]), inner),
        }
    ),
    max_leaves=4,
)
operation = st.fixed_dictionaries(
    {},
    optional={
        "operationId": st.text(max_size=8) | st.sampled_from(["a", "A/b", "aB", "http/x"]),
        "requestBody": schemas.map(
            lambda schema: {"required": True, "content": {"application/json": {"schema": schema}}}
        ),
    },
)
documents = st.dictionaries(paths, st.dictionaries(methods, operation, max_size=3), max_size=6)


@given(documents, st.text(max_size=12))
def test_whatever_is_imported_loads(paths, title):
    read = service(imported(PETS | {"paths": paths, "info": {"title": title}}))
    assert len(read.operations) <= sum(len(item) for item in paths.values())


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["$ref", "get", "url", "a"]), inner)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["info", "servers", "paths", "components"]), junk))
def test_nothing_of_the_document_is_trusted(members):
    import_openapi({"openapi": "3.0.0", **members}, Wanted())
    result = import_openapi({"openapi": "3.0.0", **members}, Wanted(hosts=("api.example.org",)))
    assert isinstance(result, Imported)
    service(result)
