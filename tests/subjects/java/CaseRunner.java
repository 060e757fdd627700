// VAULT_CASES=$(the URL of vault-harness serve) SCENARIO=KV-01 java CaseRunner.java
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Executors;
import java.util.regex.Pattern;

public class CaseRunner {
    public static void main(String[] args) throws Exception {
        String base = System.getenv("VAULT_CASES"), scenario = System.getenv("SCENARIO");
        var started = Http.call("POST", base + "/cases/" + scenario, "{}");
        if (started.status() != 201) { // no such scenario, or it is under way already
            System.out.println(started.members().get("error"));
            System.exit(1);
        }
        String at = base + "/cases/" + started.members().get("id");
        var vault = new Vault(started.members());
        var pool = Executors.newCachedThreadPool();
        for (Http next; (next = Http.call("GET", at + "/next", "")).status() < 300; ) {
            if (next.status() == 204) continue; // nothing is asked at the moment
            var op = next.members();
            if (op.get("op").equals("configure")) vault = new Vault(op);
            var client = vault;
            pool.submit(() -> Http.call("POST", at + "/answers", answer(client, op)));
        }
        var verdict = Http.call("GET", at + "/verdict", "").members();
        System.out.println(verdict.get("text").translateEscapes());
        System.exit(Set.of("pass", "skipped").contains(verdict.get("word")) ? 0 : 1);
    }

    static String answer(Vault vault, Map<String, String> op) {
        String said = "\"ok\": true";
        try {
            if (op.get("op").equals("read")) said += ", \"value\": \"" + vault.read(op.get("path"), op.get("key")) + '"';
            if (op.get("op").equals("close")) vault.close();
        } catch (Exception error) {
            said = "\"ok\": false, \"message\": \"" + error.getClass().getName() + '"';
        }
        return "{\"id\": " + op.get("id") + ", " + said + "}";
    }
}

/** The client, such as it is: logs in by AppRole, reads, logs in again where Vault says 403. */
class Vault {
    private final Map<String, String> env;
    private String token;

    Vault(Map<String, String> env) {
        this.env = env;
    }

    synchronized String read(String path, String key) throws Exception {
        var found = token == null ? null : get(path);
        if (found == null || found.status() == 403) {
            String ids = "{\"role_id\": \"%s\", \"secret_id\": \"%s\"}";
            var login = Http.call("POST", env.get("VAULT_ADDR") + "/v1/auth/approle/login", ids.formatted(id("ROLE"), id("SECRET")));
            token = login.members().get("client_token");
            found = get(path);
        }
        if (found.status() != 200 || !found.members().containsKey(key)) throw new IOException("HTTP " + found.status());
        return found.members().get(key);
    }

    synchronized void close() throws Exception {
        if (token != null) Http.call("POST", env.get("VAULT_ADDR") + "/v1/auth/token/revoke-self", "{}", "X-Vault-Token", token);
    }

    private Http get(String path) throws Exception {
        String url = env.get("VAULT_ADDR") + "/v1/" + env.get("VAULT_MOUNT_POINT") + "/data/" + path;
        return Http.call("GET", url, "", "X-Vault-Token", token);
    }

    private String id(String of) throws IOException {
        String file = env.get("VAULT_" + of + "_ID_FILE");
        return file == null ? env.get("VAULT_" + of + "_ID") : Files.readString(Path.of(file)).strip();
    }
}

/** An answer, whose members are read without a library: strings stay as they are escaped, depth is lost. */
record Http(int status, Map<String, String> members) {
    private static final HttpClient CLIENT = HttpClient.newHttpClient();
    private static final String STRING = "\"([^\"\\\\]*+(?:\\\\.[^\"\\\\]*+)*+)\"";
    private static final Pattern MEMBER = Pattern.compile(STRING + "\\s*:\\s*(?:" + STRING + "|([\\w.-]+))");

    static Http call(String method, String url, String body, String... headers) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(url)).timeout(Duration.ofSeconds(90));
        if (headers.length > 0) request.headers(headers);
        request.method(method, HttpRequest.BodyPublishers.ofString(body));
        var answer = CLIENT.send(request.build(), HttpResponse.BodyHandlers.ofString());
        var members = new HashMap<String, String>();
        for (var found : (Iterable<java.util.regex.MatchResult>) MEMBER.matcher(answer.body()).results()::iterator) {
            members.put(found.group(1), found.group(2) != null ? found.group(2) : found.group(3));
        }
        return new Http(answer.statusCode(), members);
    }
}
