"""Java's HTTP clients through TLS interception, with what ``JAVA_TOOL_OPTIONS`` can tell them.

Proxy and trust store come from the options. Java has no option that holds a password for a proxy: the
program must find it in the system properties and hand it over. ``HttpURLConnection`` takes it from an
``Authenticator``; ``HttpClient`` with one drops every ``Authorization`` of the program's own, so it gets
the header for the proxy instead.
"""

import json
import shutil
from pathlib import Path

import pytest

from tests.system.deployed import SECRET, Deployed, is_refusal, problem, seen
from tests.system.process import Finished

pytestmark = pytest.mark.skipif(
    shutil.which("java") is None or shutil.which("javac") is None, reason="there is no JDK on this machine"
)

AGENT = """
import java.io.InputStream;
import java.net.*;
import java.net.http.*;
import java.nio.charset.StandardCharsets;
import java.util.Base64;

public class Agent {
    static class FromProperties extends Authenticator {
        protected PasswordAuthentication getPasswordAuthentication() {
            if (getRequestorType() != RequestorType.PROXY) return null;
            String password = System.getProperty("https.proxyPassword");
            return new PasswordAuthentication(System.getProperty("https.proxyUser"), password.toCharArray());
        }
    }

    static void connection(String url, String token) throws Exception {
        HttpURLConnection call = (HttpURLConnection) new URL(url).openConnection();
        if (token != null) call.setRequestProperty("Authorization", "Bearer " + token);
        int status = call.getResponseCode();
        InputStream body = status < 400 ? call.getInputStream() : call.getErrorStream();
        System.out.println(status + " " + new String(body.readAllBytes(), StandardCharsets.UTF_8));
    }

    static void client(String url, String token) throws Exception {
        String known = System.getProperty("https.proxyUser") + ":" + System.getProperty("https.proxyPassword");
        String basic = "Basic " + Base64.getEncoder().encodeToString(known.getBytes(StandardCharsets.UTF_8));
        HttpClient client = HttpClient.newBuilder().proxy(ProxySelector.getDefault()).build();
        HttpRequest.Builder call = HttpRequest.newBuilder(URI.create(url)).header("Proxy-Authorization", basic);
        if (token != null) call.header("Authorization", "Bearer " + token);
        HttpResponse<String> answer = client.send(call.build(), HttpResponse.BodyHandlers.ofString());
        System.out.println(answer.statusCode() + " " + answer.body());
    }

    public static void main(String[] given) throws Exception {
        String token = System.getenv("API_TOKEN");
        if (given[0].equals("HttpURLConnection")) {
            Authenticator.setDefault(new FromProperties());
            connection(given[1], token);
            connection(given[2], null);
        } else {
            client(given[1], token);
            client(given[2], null);
        }
    }
}
"""


async def java(w: Deployed, directory: Path, client: str) -> Finished:
    source = directory / "Agent.java"
    source.write_text(AGENT)
    return await w.agent("java", source, client, w.url("/java"), w.url("/", "closed.test"))


@pytest.mark.parametrize("client", ["HttpURLConnection", "HttpClient"])
async def test_an_agent_that_hands_over_the_password_reads_and_is_refused(
    w: Deployed, tmp_path: Path, client: str
):
    if "javax.net.ssl.trustStore" not in w.variables["JAVA_TOOL_OPTIONS"]:
        pytest.skip("the installed cryptography (before 45) cannot write a trust store for Java")
    done = await java(w, tmp_path, client)

    assert done.status == 0, done
    read, refused = (line.partition(" ") for line in done.stdout.splitlines())
    assert (read[0], json.loads(read[2])["target"]) == ("200", "/java")
    assert refused[0] == "403"
    assert is_refusal(problem(refused[2]))
    assert [got["authorization"] for got in seen(w.upstream, "/java")] == [f"Bearer {SECRET}"]
    allowed = [record for record in await w.settled() if record.effect == "allow"]
    assert [(record.agent, record.task, record.path) for record in allowed] == [("tester", w.task, "/java")]
    assert len(w.upstream.requests) == 1
