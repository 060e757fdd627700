// Run with: VAULTS=$(what vault-harness serve prints after "vaults at") java -ea Lending.java
import java.io.IOException;
import java.net.URI;
import java.net.http.*;
import java.util.regex.Pattern;

public class Lending { // the body of main is a method with @Test in JUnit
    static final HttpClient HTTP = HttpClient.newHttpClient();

    public static void main(String[] args) throws Exception {
        String vaults = System.getenv("VAULTS");
        String lent = call("POST", vaults, "{'secrets': {'secret': {'shop/db': {'PASSWORD': 's3cret'}}}}");
        String mine = vaults + "/" + of(lent, "id");
        HTTP.send(HttpRequest.newBuilder(URI.create(mine + "/hold")).build(), HttpResponse.BodyHandlers.ofInputStream());
        assert of(read(lent), "PASSWORD").equals("s3cret");
        String fault = call("POST", mine + "/faults", "{'fault': 'cut'}");
        try { throw new AssertionError("the network is cut, and Vault answered " + read(lent)); }
        catch (IOException expected) { }
        call("DELETE", mine + "/faults/" + of(fault, "id"), "");
        assert of(read(lent), "PASSWORD").equals("s3cret");
        call("DELETE", mine, "");
    }

    static String read(String lent) throws Exception {
        return call("GET", of(lent, "address") + "/v1/secret/data/shop/db", "",
            "X-Vault-Namespace", of(lent, "namespace"), "X-Vault-Token", of(lent, "token"));
    }

    static String call(String method, String url, String body, String... headers) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(url));
        if (headers.length > 0) request.headers(headers);
        request.method(method, HttpRequest.BodyPublishers.ofString(body.replace('\'', '"')));
        return HTTP.send(request.build(), HttpResponse.BodyHandlers.ofString()).body();
    }

    static String of(String json, String member) { // a JSON library does it better
        return Pattern.compile('"' + member + "\": *\"([^\"]*)").matcher(json).results().findFirst().get().group(1);
    }
}
