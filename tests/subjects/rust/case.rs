// VAULT_CASES=$(the URL of vault-harness serve) SCENARIO=KV-01 cargo test
use serde_json::{json, Value};
use std::{env, sync::Arc, thread};
use vault_case::{call, Vault};

#[test]
fn a_case_of_the_suite() {
    let base = env::var("VAULT_CASES").expect("vault-harness serve prints it");
    let case = format!("{base}/cases/{}", env::var("SCENARIO").expect("KV-01, say"));
    let (_, started) = call("POST", &case, &json!({}), "").unwrap();
    // No id: no such scenario, or it is under way already.
    let id = started["id"].as_str().unwrap_or_else(|| panic!("{}", started["error"]));
    let at = format!("{base}/cases/{id}");
    let mut vault = Arc::new(Vault::new(&started["env"]));
    while let Ok((status @ 200..=299, op)) = call("GET", &format!("{at}/next"), &Value::Null, "") {
        if status == 204 {
            continue; // nothing is asked at the moment
        }
        if op["op"] == "configure" {
            vault = Arc::new(Vault::new(&op["environ"]));
        }
        let (vault, at) = (vault.clone(), at.clone());
        thread::spawn(move || {
            let said = match op["op"].as_str() {
                Some("read") => vault.read(&op["path"], &op["key"]),
                Some("close") => vault.close(),
                _ => Ok(Value::Null),
            };
            let answer = match said {
                Ok(value) => json!({"id": op["id"], "ok": true, "value": value}),
                Err(message) => json!({"id": op["id"], "ok": false, "message": message}),
            };
            call("POST", &format!("{at}/answers"), &answer, "")
        });
    }
    let (_, verdict) = call("GET", &format!("{at}/verdict"), &Value::Null, "").unwrap();
    if verdict["word"] == "skipped" {
        return println!("{}", verdict["why"]);
    }
    assert_eq!(verdict["word"], "pass", "{}", verdict["text"]);
}
