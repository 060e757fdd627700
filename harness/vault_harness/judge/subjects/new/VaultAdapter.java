// Answers the line protocol of vault-harness with a Vault client: vault-java-driver.
import io.github.jopenlibs.vault.*;
import io.github.jopenlibs.vault.json.*;
import java.nio.file.*;
import java.util.*;
class VaultAdapter { // Put your own client in the place of read and close.
    static String token;
    static Vault vault() throws VaultException { // it reads VAULT_ADDR itself
        return Vault.create(new VaultConfig().engineVersion(2).token(token).readTimeout((int) Double.parseDouble(System.getenv("VAULT_CLIENT_TIMEOUT"))).build());
    }
    static String credential(String name) throws Exception { // some scenarios give it in a file, and replace that
        return System.getenv(name) != null ? System.getenv(name) : Files.readString(Path.of(System.getenv(name + "_FILE"))).strip();
    }
    static synchronized Vault loggedIn() throws Exception { // one login for all callers
        if (token == null) token = vault().auth().loginByAppRole(credential("VAULT_ROLE_ID"), credential("VAULT_SECRET_ID")).getAuthClientToken();
        return vault();
    }
    static String read(String path, String key) throws Exception {
        return Objects.requireNonNull(loggedIn().logical().read(System.getenv("VAULT_MOUNT_POINT") + "/" + path).getData().get(key));
    }
    static synchronized void close() { // at SIGTERM too; halt ends with 0, not with 143
        try { if (token != null) vault().auth().revokeSelf(); } catch (VaultException gone) { } finally { Runtime.getRuntime().halt(0); }
    }
    static final java.io.PrintStream OUT = new java.io.PrintStream(System.out, true, java.nio.charset.StandardCharsets.UTF_8);
    static void answer(JsonObject asked, String op) {
        JsonObject said = Json.object().add("id", asked.getInt("id")).add("ok", op.equals("hello"));
        if (op.equals("hello")) said.add("capabilities", Json.array("read")); // and what you add below
        try { if (op.equals("read")) said.add("value", read(asked.getString("path"), asked.getString("key"))).set("ok", true); }
        catch (Exception error) { said.add("message", error.getClass().getName()); } // its text may have a token in it
        OUT.println(said); // logs go to standard error
    }
    public static void main(String[] unused) {
        Runtime.getRuntime().addShutdownHook(new Thread(VaultAdapter::close));
        for (Scanner lines = new Scanner(System.in, "UTF-8"); lines.hasNextLine(); ) {
            JsonObject asked = Json.parse(lines.nextLine()).asObject();
            if (asked.getString("op").equals("close")) System.exit(0);
            new Thread(() -> answer(asked, asked.getString("op"))).start(); // the end waits for these
        }
    }
}
