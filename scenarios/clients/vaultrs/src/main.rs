//! vaultrs as its documentation shows: log in with an AppRole once, and read. Nothing more: neither
//! vaultrs nor vaultrs-login keeps a token alive, and nothing in their documentation does.
//!
//!     cargo build --release --locked

use rustify::errors::ClientError::ServerResponseError;
use serde_json::{json, Value};
use std::collections::HashMap;
use std::{env, fs, sync::Arc, time::Duration};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use vaultrs::client::{VaultClient, VaultClientSettingsBuilder};
use vaultrs::error::ClientError;
use vaultrs::{kv2, token};
use vaultrs_login::{engines::approle::AppRoleLogin, LoginClient};

const VERSION: &str = "0.8.0";
const PAUSE: Duration = Duration::from_secs(2); // after a login that failed

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn credential(name: &str) -> Result<String, Failure> {
    match env::var(format!("{name}_FILE")) {
        Ok(file) => Ok(fs::read_to_string(file)?.trim().to_string()),
        Err(_) => Ok(env::var(name)?),
    }
}

fn client() -> Result<VaultClient, Failure> {
    let mut settings = VaultClientSettingsBuilder::default(); // VAULT_ADDR, VAULT_CACERT ...
    if let Some(seconds) = env::var("VAULT_CLIENT_TIMEOUT").ok().and_then(|text| text.parse().ok()) {
        settings.timeout(Some(Duration::from_secs_f64(seconds)));
    }
    if let Ok(namespace) = env::var("VAULT_NAMESPACE") {
        settings.set_namespace(namespace);
    }
    Ok(VaultClient::new(settings.build()?)?)
}

/// The first login, tried until it is there: an application serves once it has logged in.
async fn logged_in() -> Result<VaultClient, Failure> {
    let mut client = client()?;
    loop {
        let login = AppRoleLogin {
            role_id: credential("VAULT_ROLE_ID")?,
            secret_id: credential("VAULT_SECRET_ID")?,
        };
        match client.login("approle", &login).await {
            Ok(()) => return Ok(client),
            Err(error) => eprintln!("unable to log in to Vault: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn read(client: &VaultClient, path: &str, key: &str) -> Result<Option<String>, ClientError> {
    let mount = env::var("VAULT_MOUNT_POINT").unwrap_or_else(|_| "secret".to_string());
    let mut secret: HashMap<String, String> = kv2::read(client, &mount, path).await?;
    Ok(secret.remove(key))
}

/// What the harness calls a failure. vaultrs has the status and Vault's errors, or one level down the body of an
/// answer without errors (src/api.rs:379): that of a deleted secret has `data`, and any other is not Vault's.
fn word(error: &ClientError) -> &'static str {
    match error {
        ClientError::APIError { code: 403, .. } => "denied",
        ClientError::APIError { code: 404, .. } => "missing",
        ClientError::RestClientError { source: ServerResponseError { code: 404, content: Some(body) } } => {
            match serde_json::from_str::<Value>(body) {
                Ok(said) if said["data"]["metadata"].is_object() => "deleted",
                _ => "unavailable",
            }
        }
        _ => "unavailable",
    }
}

async fn answer(client: &VaultClient, asked: &Value) -> Value {
    match asked["op"].as_str().unwrap_or_default() {
        "hello" => json!({"ok": true, "capabilities": ["read"], "version": VERSION}),
        "read" => {
            let (path, key) = (&asked["path"], &asked["key"]);
            let key = key.as_str().unwrap_or_default();
            match read(client, path.as_str().unwrap_or_default(), key).await {
                Ok(Some(value)) => json!({"ok": true, "value": value}),
                Ok(None) => json!({"ok": false, "error": "missing", "message": format!("no key {key}")}),
                Err(error) => json!({"ok": false, "error": word(&error), "message": error.to_string()}),
            }
        }
        other => json!({"ok": false, "message": format!("there is no operation {other}")}),
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let client = tokio::select! {
        client = logged_in() => Arc::new(client?),
        _ = terminated.recv() => return Ok(()),
    };
    let out = Arc::new(Mutex::new(()));
    let mut answering = JoinSet::new();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line?,
            _ = terminated.recv() => None,
        };
        let Some(line) = line else { break };
        let asked: Value = serde_json::from_str(&line)?;
        if asked["op"] == "close" {
            break;
        }
        let (client, out) = (client.clone(), out.clone());
        answering.spawn(async move {
            let mut said = answer(&client, &asked).await;
            said["id"] = asked["id"].clone();
            let _one_at_a_time = out.lock().await;
            println!("{said}");
        });
    }
    answering.join_all().await;
    if let Err(error) = token::revoke_self(client.as_ref()).await {
        eprintln!("the token was not revoked: {error}");
    }
    std::process::exit(0) // a read of standard input that is still under way would hold it up
}
