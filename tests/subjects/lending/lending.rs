// Run with: VAULTS=$(what vault-harness serve prints after "vaults at") cargo test --test lending
use serde_json::{json, Value};
use std::env;

fn read(lent: &Value) -> Result<Value, ureq::Error> {
    let url = format!("{}/v1/secret/data/shop/db", lent["address"].as_str().unwrap());
    let request = ureq::get(url)
        .header("X-Vault-Namespace", lent["namespace"].as_str().unwrap())
        .header("X-Vault-Token", lent["token"].as_str().unwrap());
    let found: Value = request.call()?.body_mut().read_json()?;
    Ok(found["data"]["data"]["PASSWORD"].clone())
}

fn post(url: &str, body: Value) -> Value {
    ureq::post(url).send_json(body).unwrap().body_mut().read_json().unwrap()
}

#[test]
fn a_network_that_is_cut() {
    let Ok(vaults) = env::var("VAULTS") else { return };
    let lent = post(&vaults, json!({"secrets": {"secret": {"shop/db": {"PASSWORD": "s3cret"}}}}));
    let mine = format!("{vaults}/{}", lent["id"].as_str().unwrap());
    let _hold = ureq::get(format!("{mine}/hold")).call().unwrap(); // it is mine while this is open
    assert_eq!(read(&lent).unwrap(), "s3cret");
    let fault = post(&format!("{mine}/faults"), json!({"fault": "cut"}));
    assert!(read(&lent).is_err(), "the network is cut, and Vault answered");
    ureq::delete(format!("{mine}/faults/{}", fault["id"].as_str().unwrap())).call().unwrap();
    assert_eq!(read(&lent).unwrap(), "s3cret");
    ureq::delete(&mine).call().unwrap();
}
