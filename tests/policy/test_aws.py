import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.http.canonical import query_pairs
from proxy.policy.aws import classify
from proxy.policy.catalogue import Service
from proxy.policy.content import Call, Classified
from proxy.policy.fact import FactField, FactType, Place, Protocol, Selector
from proxy.policy.needs import EVERYTHING, NOTHING
from proxy.policy.operation import Group, Operation
from proxy.policy.template import parse_template

QUERY, JSON = Protocol.AWS_QUERY, Protocol.AWS_JSON


def operation(protocol, name, pattern, *facts):
    return Operation(f"aws.{name}", Group.READ, selector=Selector(protocol, pattern), facts=facts)


AWS = Service(
    *("aws", ("aws.example.org",), ("https",), (443,), "a@example.org", "b@example.org", "internal"),
    ("development",),
    (
        operation(QUERY, "whoami", "GetCallerIdentity"),
        operation(QUERY, "get", "Get*"),
        operation(
            QUERY, "assume", "AssumeRole", FactField(Place.BODY, ("RoleArn",), FactType.STRING, required=True)
        ),
        operation(
            JSON,
            "item",
            "DynamoDB_20120810.GetItem",
            FactField(Place.BODY, ("TableName",), FactType.STRING, required=True),
        ),
        operation(JSON, "tables", "DynamoDB_20120810.*"),
        operation(JSON, "odd", "X.Odd", FactField(Place.QUERY, ("a",), FactType.STRING, required=True)),
    ),
    None,
    protocol=QUERY,
    endpoints=((parse_template("/json"), JSON),),
)
FORM = (b"Content-Type", b"application/x-www-form-urlencoded; charset=utf-8")
AMZ = (b"Content-Type", b"application/x-amz-json-1.0")
SIGNED = (
    b"Authorization",
    b"AWS4-HMAC-SHA256 Credential=AKID/20240101/us-east-1/sts/aws4_request, SignedHeaders=host;x-amz-date, Signature=ab12",
)
WHOAMI = b"Action=GetCallerIdentity&Version=2011-06-15"


def post(body=WHOAMI, *headers, query=(), method="POST"):
    return Call(method, "/", query, headers or (FORM,), has_body=True, body=body)


def get(query, *headers):
    return Call("GET", "/", query_pairs(query), headers, has_body=False, body=None)


def target(value, *headers, body=None, method="POST", query=()):
    values = () if value is None else ((b"X-Amz-Target", value),)
    return Call(method, "/json", query, (*values, *(headers or (AMZ,))), has_body=True, body=body)


def act(call, needs=EVERYTHING):
    found = classify(call, AWS, needs)
    assert isinstance(found, Classified), found
    assert len(found.acts) == 1
    return found.acts[0].operation.id, json.loads(found.acts[0].facts)


def refused(call, code=Code.AMBIGUOUS_INPUT, needs=EVERYTHING):
    found = classify(call, AWS, needs)
    assert isinstance(found, Refusal), found
    assert found.code is code
    return found.detail


IDENTITY = {"aws": {"action": "GetCallerIdentity", "service": "sts", "version": "2011-06-15"}}


def test_a_form_names_its_action():
    assert act(post(WHOAMI, FORM, SIGNED)) == ("aws.whoami", IDENTITY)
    assert act(post(b"Action=GetFoo&Version=2011-06-15"))[0] == "aws.get"
    assert act(post(b"Action=DeleteUser&Version=2011-06-15"))[0] == "aws.aws.call"
    assert act(post(), NOTHING) == ("aws.whoami", {})


def test_a_get_names_its_action_in_the_url():
    assert act(get("Action=GetCallerIdentity&Version=2011-06-15", SIGNED)) == ("aws.whoami", IDENTITY)
    signed = "&X-Amz-Credential=AKID%2F20240101%2Fus-east-1%2Fsts%2Faws4_request"
    assert act(get("Action=GetCallerIdentity&Version=2011-06-15" + signed)) == ("aws.whoami", IDENTITY)


def test_declared_parameters_are_read_wherever_they_stand():
    sent = "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3A1"
    assert act(post(sent.encode()))[1]["body"] == {"RoleArn": "arn:aws:1"}
    assert act(get(sent))[1]["body"] == {"RoleArn": "arn:aws:1"}
    assert "RoleArn" in refused(post(b"Action=AssumeRole&Version=2011-06-15"))
    assert "RoleArn" in refused(post(sent.encode() + b"&RoleArn=b"))


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"Action=GetFoo", b"Version=2011-06-15", b"Action=&Version=2011-06-15"),
        *(WHOAMI + b"&Action=DeleteUser", WHOAMI + b"&Version=2011-06-15", WHOAMI + b"&action=DeleteUser"),
        *(
            WHOAMI + b"&Action[]=DeleteUser",
            b"Action=Get+Foo&Version=2011-06-15",
            b"Action=GetFoo&Version=latest",
        ),
        *(WHOAMI + b"&A%63tion=DeleteUser", WHOAMI + b"\n", WHOAMI + b"&x=%", b'{"Action":"GetFoo"}'),
    ],
)
def test_a_form_without_exactly_one_action_is_refused(body):
    refused(post(body))


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (post(WHOAMI, query=(("Action", "DeleteUser"),)), Code.AMBIGUOUS_INPUT),
        (post(WHOAMI, query=(("x", "y"),)), Code.AMBIGUOUS_INPUT),
        (post(WHOAMI, FORM, (b"x-amz-target", b"A.B")), Code.AMBIGUOUS_INPUT),
        (post(WHOAMI, (b"content-type", b"text/plain")), Code.CONTENT_UNSUPPORTED),
        (post(WHOAMI, FORM, FORM), Code.CONTENT_UNSUPPORTED),
        (post(WHOAMI, FORM, (b"content-encoding", b"gzip")), Code.CONTENT_UNSUPPORTED),
        (post(WHOAMI, method="PUT"), Code.CONTENT_UNSUPPORTED),
        (get("Action=GetFoo&Version=2011-06-15")._replace(has_body=True, body=WHOAMI), Code.AMBIGUOUS_INPUT),
        (get("Action=GetFoo&Action=GetFoo&Version=2011-06-15"), Code.AMBIGUOUS_INPUT),
    ],
)
def test_a_second_place_for_the_action_is_refused(call, code):
    refused(call, code)


@pytest.mark.parametrize(
    ("sent", "expected", "action", "version"),
    [
        (b"DynamoDB_20120810.GetItem", "aws.item", "GetItem", "2012-08-10"),
        (b"DynamoDB_20120810.PutItem", "aws.tables", "PutItem", "2012-08-10"),
        (b"AmazonEC2ContainerServiceV20141113.ListTasks", "aws.aws.call", "ListTasks", "2014-11-13"),
        (b"com.example.Svc.Do", "aws.aws.call", "Do", ""),
        (b"TrentService.Encrypt", "aws.aws.call", "Encrypt", ""),
    ],
)
def test_a_target_names_its_action(sent, expected, action, version):
    name, facts = act(target(sent, AMZ, SIGNED, body=b'{"TableName":"t"}'))
    assert (name, facts["aws"]) == (expected, {"action": action, "service": "sts", "version": version})


def test_the_content_is_read_only_if_a_rule_needs_it():
    assert act(target(b"DynamoDB_20120810.GetItem", body=b'{"TableName":"t","Key":{}}'))[1]["body"] == {
        "TableName": "t"
    }
    blind = target(b"DynamoDB_20120810.GetItem", AMZ, (b"content-encoding", b"gzip"))
    assert act(blind, NOTHING) == ("aws.item", {})
    refused(blind, Code.CONTENT_UNSUPPORTED)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"TableName":1}', b'{"TableName":"a","TableName":"b"}', b'{"tablename":"a"}'],
)
def test_content_that_does_not_say_what_is_declared_is_refused(body):
    refused(target(b"DynamoDB_20120810.GetItem", body=body))


def test_the_json_protocol_has_no_query():
    assert "a is missing" in refused(target(b"X.Odd", body=b"{}"))


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (target(None), Code.AMBIGUOUS_INPUT),
        (target(b"A.B", AMZ, (b"x-amz-target", b"A.B")), Code.AMBIGUOUS_INPUT),
        (target(b"GetItem"), Code.AMBIGUOUS_INPUT),
        (target(b"A.B, C.D"), Code.AMBIGUOUS_INPUT),
        (target(b"A.B "), Code.AMBIGUOUS_INPUT),
        (target(b"A.B\xe9"), Code.AMBIGUOUS_INPUT),
        (target(b"A" * 300 + b".B"), Code.AMBIGUOUS_INPUT),
        (target(b"A.B", query=(("Action", "X"),)), Code.AMBIGUOUS_INPUT),
        (target(b"A.B", method="GET"), Code.CONTENT_UNSUPPORTED),
        (target(b"A.B", (b"content-type", b"application/json")), Code.CONTENT_UNSUPPORTED),
    ],
)
def test_what_is_not_one_target_is_refused(call, code):
    refused(call, code)


@pytest.mark.parametrize(
    ("value", "service"),
    [
        (SIGNED[1], "sts"),
        (
            b"AWS4-HMAC-SHA256 SignedHeaders=host, Credential=K/20240101/eu-west-1/sqs/aws4_request,Signature=a",
            "sqs",
        ),
        (
            b"AWS4-ECDSA-P256-SHA256 Credential=K/20240101/s3/aws4_request, SignedHeaders=host, Signature=a",
            "s3",
        ),
        (b"Bearer x", ""),
    ],
)
def test_the_service_is_that_of_the_signature(value, service):
    assert act(post(WHOAMI, FORM, (b"Authorization", value)))[1]["aws"]["service"] == service


@pytest.mark.parametrize(
    "headers",
    [
        (SIGNED, SIGNED),
        (SIGNED, (b"authorization", b"Bearer x")),
        ((b"authorization", b"AWS4-HMAC-SHA256 Signature=a"),),
        ((b"authorization", b"AWS4-HMAC-SHA256 Credential=K/20240101/eu/sts, Signature=a"),),
        ((b"authorization", b"AWS4-HMAC-SHA256 Credential=K/20240101/eu/sts/aws4_request/x, Signature=a"),),
        ((b"authorization", SIGNED[1] + b", Credential=K/20240101/eu/iam/aws4_request"),),
    ],
)
def test_a_signature_with_two_scopes_or_none_is_refused(headers):
    refused(post(WHOAMI, FORM, *headers))


def test_a_call_signed_in_url_and_header_is_refused():
    signed = "&X-Amz-Credential=AKID%2F20240101%2Fus-east-1%2Fsts%2Faws4_request"
    refused(get("Action=GetFoo&Version=2011-06-15" + signed, SIGNED))
    refused(get("Action=GetFoo&Version=2011-06-15" + signed * 2))


PARAMETERS = st.lists(
    st.tuples(
        st.text().filter(lambda name: name.strip().casefold()[:6] not in ("action", "versio")), st.text()
    ),
    max_size=4,
)


@given(PARAMETERS, st.booleans(), st.randoms())
def test_an_action_is_the_same_in_every_order_and_encoding(more, plus, random):
    pairs = [("Action", "GetCallerIdentity"), ("Version", "2011-06-15"), *more]
    random.shuffle(pairs)

    def encode(text):
        if random.random() < 0.3:
            return "".join(f"%{octet:02X}" for octet in text.encode())
        return quote_plus(text) if plus else quote(text, safe="")

    sent = "&".join(f"{encode(name)}={encode(value)}" for name, value in pairs)
    assert act(post(sent.encode()))[0] == "aws.whoami"
    assert act(get(sent))[0] == "aws.whoami"


@given(
    st.sampled_from(["Action", "action", "ACTION", "Action[]", " Action", "Version", "version"]), st.data()
)
def test_a_second_action_is_refused_wherever_it_stands(name, data):
    pairs = [b"Action=GetCallerIdentity", b"Version=2011-06-15", b"x=y"]
    pairs.insert(data.draw(st.integers(0, 3)), f"{quote(name)}=GetFoo".encode())
    refused(post(b"&".join(pairs)))
