// Spring Vault as its reference shows, on the HTTP client that Spring Cloud's starter brings: a configuration
// that extends AbstractVaultConfiguration, and reads with the VaultTemplate that it makes. Its LifecycleAwareSessionManager logs in, renews, and
// revokes the token at the end; every option of it is the default. Nothing more.
package subject;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Configuration;
import org.springframework.vault.VaultException;
import org.springframework.vault.authentication.AppRoleAuthentication;
import org.springframework.vault.authentication.AppRoleAuthenticationOptions;
import org.springframework.vault.authentication.AppRoleAuthenticationOptions.RoleId;
import org.springframework.vault.authentication.AppRoleAuthenticationOptions.SecretId;
import org.springframework.vault.authentication.ClientAuthentication;
import org.springframework.vault.client.VaultEndpoint;
import org.springframework.vault.config.AbstractVaultConfiguration;
import org.springframework.vault.core.VaultKeyValueOperationsSupport.KeyValueBackend;
import org.springframework.vault.core.VaultTemplate;
import org.springframework.vault.support.ClientOptions;
import org.springframework.vault.support.VaultResponse;
import org.springframework.web.client.HttpStatusCodeException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

public final class Subject {

    private static final JsonMapper JSON = new JsonMapper();

    @Configuration
    static class VaultConfiguration extends AbstractVaultConfiguration {

        @Override
        public VaultEndpoint vaultEndpoint() {
            return VaultEndpoint.from(System.getenv("VAULT_ADDR"));
        }

        @Override
        public ClientOptions clientOptions() {
            String seconds = System.getenv("VAULT_CLIENT_TIMEOUT");
            if (seconds == null) {
                return new ClientOptions();
            }
            Duration timeout = Duration.ofMillis((long) (Double.parseDouble(seconds) * 1000));
            return new ClientOptions(timeout, timeout);
        }

        @Override
        public ClientAuthentication clientAuthentication() {
            // The ids are files that may be replaced, so each login reads them.
            return () -> new AppRoleAuthentication(
                    AppRoleAuthenticationOptions.builder()
                            .roleId(RoleId.provided(credential("VAULT_ROLE_ID")))
                            .secretId(SecretId.provided(credential("VAULT_SECRET_ID")))
                            .build(),
                    restOperations()).login();
        }

        private static String credential(String name) {
            String file = System.getenv(name + "_FILE");
            try {
                return file == null ? System.getenv(name) : Files.readString(Path.of(file)).strip();
            } catch (IOException e) {
                throw new VaultException("the AppRole's id cannot be read", e);
            }
        }
    }

    private static String read(VaultTemplate vault, String path, String key) {
        VaultResponse found = vault
                .opsForKeyValue(System.getenv("VAULT_MOUNT_POINT"), KeyValueBackend.KV_2)
                .get(path);
        return found == null || found.getData() == null ? null : (String) found.getData().get(key);
    }

    private static Map<String, Object> answer(VaultTemplate vault, JsonNode asked) {
        Map<String, Object> said = new LinkedHashMap<>();
        said.put("id", asked.get("id").asInt());
        switch (asked.get("op").asString()) {
            case "hello" -> {
                said.put("ok", true);
                said.put("capabilities", new String[] {"read"});
                said.put("version", "4.0.4");
            }
            case "read" -> {
                try {
                    String value = read(vault, asked.get("path").asString(), asked.get("key").asString());
                    said.put("ok", value != null);
                    said.put(value != null ? "value" : "error", value != null ? value : "missing");
                } catch (Exception e) {
                    said.put("ok", false);
                    said.put("error", word(e));
                    said.put("message", String.valueOf(e.getMessage()));
                }
            }
            default -> {
                said.put("ok", false);
                said.put("message", "there is no operation " + asked.get("op").asString());
            }
        }
        return said;
    }

    // What the harness calls a failure. Spring Vault has status and body in the cause of its exception; a
    // body without Vault's errors was sent by somebody else.
    private static String word(Throwable error) {
        for (Throwable each = error; each != null; each = each.getCause()) {
            if (each instanceof HttpStatusCodeException refused) {
                return refused.getStatusCode().value() == 403
                        && refused.getResponseBodyAsString().contains("\"errors\"") ? "denied" : "unavailable";
            }
        }
        return "unavailable";
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, true, UTF_8);
        AnnotationConfigApplicationContext context =
                new AnnotationConfigApplicationContext(VaultConfiguration.class);
        context.registerShutdownHook(); // SIGTERM closes it too
        VaultTemplate vault = context.getBean(VaultTemplate.class);
        ExecutorService pool = Executors.newCachedThreadPool();
        try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in, UTF_8))) {
            for (String line; (line = in.readLine()) != null; ) {
                JsonNode asked = JSON.readTree(line);
                if (asked.get("op").asString().equals("close")) {
                    break;
                }
                pool.submit(() -> {
                    String said = JSON.writeValueAsString(answer(vault, asked));
                    synchronized (out) {
                        out.println(said);
                    }
                });
            }
        }
        pool.shutdown();
        pool.awaitTermination(10, TimeUnit.SECONDS);
        context.close(); // the session manager revokes the token
        System.exit(0);
    }
}
