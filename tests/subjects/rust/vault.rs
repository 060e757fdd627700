//! The client, such as it is: logs in by AppRole, reads, logs in again where Vault says 403.
use serde_json::{json, Value};
use std::{fs, sync::Mutex, time::Duration};
use ureq::{http::Request, Agent};

type Answer = Result<(u16, Value), String>;

pub fn call(method: &str, url: &str, body: &Value, token: &str) -> Answer {
    let agent: Agent = Agent::config_builder()
        .proxy(None) // Vault is on the loopback
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(90)))
        .build()
        .into();
    let request = Request::builder()
        .method(method)
        .uri(url)
        .header("X-Vault-Token", token);
    let answer = match body {
        Value::Null => agent.run(request.body(()).unwrap()),
        _ => agent.run(request.body(body.to_string()).unwrap()),
    };
    let mut answer = answer.map_err(|error| error.to_string())?;
    let body = answer.body_mut().read_json().unwrap_or(Value::Null); // 204 has none
    Ok((answer.status().as_u16(), body))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub struct Vault {
    env: Value,
    token: Mutex<String>,
}

impl Vault {
    pub fn new(env: &Value) -> Vault {
        Vault {
            env: env.clone(),
            token: Mutex::default(),
        }
    }

    pub fn read(&self, path: &Value, key: &Value) -> Result<Value, String> {
        let mut token = self.token.lock().unwrap();
        let (mount, path, key) = (text(&self.env["VAULT_MOUNT_POINT"]), text(path), text(key));
        let url = self.url(&format!("{mount}/data/{path}"));
        let mut found = (403, Value::Null);
        if !token.is_empty() {
            found = call("GET", &url, &Value::Null, &token)?;
        }
        if found.0 == 403 {
            let (role, secret) = (self.id("VAULT_ROLE_ID"), self.id("VAULT_SECRET_ID"));
            let ids = json!({"role_id": role, "secret_id": secret});
            let (status, login) = call("POST", &self.url("auth/approle/login"), &ids, "")?;
            *token = login["auth"]["client_token"]
                .as_str()
                .ok_or(format!("login: HTTP {status}"))?
                .to_string();
            found = call("GET", &url, &Value::Null, &token)?;
        }
        found.1["data"]["data"]
            .get(key)
            .cloned()
            .ok_or(format!("HTTP {}", found.0))
    }

    pub fn close(&self) -> Result<Value, String> {
        let token = self.token.lock().unwrap();
        if !token.is_empty() {
            let url = self.url("auth/token/revoke-self");
            call("POST", &url, &json!({}), &token)?;
        }
        Ok(Value::Null)
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v1/{path}", text(&self.env["VAULT_ADDR"]))
    }

    fn id(&self, name: &str) -> String {
        match self.env[&format!("{name}_FILE")].as_str() {
            Some(file) => fs::read_to_string(file).unwrap().trim().to_string(),
            None => text(&self.env[name]).to_string(),
        }
    }
}
