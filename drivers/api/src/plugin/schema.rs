//! The plugin protocol as JSON Schema (draft 2020-12).

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use super::message::{
    Cancel, Hello, MAX_MESSAGE, Message, PROTOCOL, Params, Search, Step, Welcome,
};
use crate::{Access, Address, Found, Probe, Resource, Size, Snapshot, State};

/// The schema of one line that berth or a plugin writes. What a call's `params` and an answer's `result` are depends on
/// the method: `methods` refers to each, and `notifications` to the parameters of what is only told.
pub fn schema() -> Value {
    let mut types = SchemaSettings::draft2020_12().into_generator();
    let nothing = || json!({"type": "null"});
    let hello = of::<Hello>(&mut types);
    let welcome = of::<Welcome>(&mut types);
    let probe = of::<Probe>(&mut types);
    let params = of::<Params>(&mut types);
    let state = of::<State>(&mut types);
    let address = of::<Address>(&mut types);
    let access = of::<Option<Access>>(&mut types);
    let why = of::<Option<String>>(&mut types);
    let snapshots = of::<Vec<Snapshot>>(&mut types);
    let size = of::<Size>(&mut types);
    let waits = of::<Vec<Resource>>(&mut types);
    let search = of::<Search>(&mut types);
    let found = of::<Vec<Found>>(&mut types);
    let mut methods = json!({
        "initialize": {"params": hello, "result": welcome},
        "probe": {"params": nothing(), "result": probe},
        "state": {"params": params, "result": state},
        "address": {"params": params, "result": address},
        "access": {"params": params, "result": access},
        "wait_stopped": {"params": params, "result": why},
        "snapshots": {"params": params, "result": snapshots},
        "resize": {"params": params, "result": waits},
        "size": {"params": params, "result": size},
        "found": {"params": search, "result": found},
    });
    for method in [
        "check",
        "create",
        "start",
        "stop",
        "kill",
        "remove",
        "ready",
        "suspend",
        "snapshot",
        "restore",
        "remove_snapshot",
        "copy",
        "keep_note",
    ] {
        methods[method] = json!({"params": params, "result": nothing()});
    }
    let notifications = json!({
        "cancel": {"by": "berth", "params": of::<Cancel>(&mut types)},
        "progress": {"by": "plugin", "params": of::<Step>(&mut types)},
    });
    let message = of::<Message>(&mut types);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "berth driver plugin protocol",
        "description": format!(
            "JSON-RPC 2.0, one message a line of at most {MAX_MESSAGE} bytes: berth calls on the plugin's standard input, \
             the plugin answers on its standard output and logs to standard error."
        ),
        "protocol": PROTOCOL,
        "$ref": message["$ref"],
        "methods": methods,
        "notifications": notifications,
        "$defs": types.take_definitions(true),
    })
}

fn of<T: schemars::JsonSchema>(types: &mut SchemaGenerator) -> Value {
    types.subschema_for::<T>().to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_referred_to_is_defined() {
        let schema = schema();
        let text = schema.to_string();
        let defined = schema["$defs"].as_object().unwrap();
        let mut referred = 0;
        for part in text.split("\"#/$defs/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(defined.contains_key(name), "{name}");
            referred += 1;
        }
        assert!(referred > 20 && defined.contains_key("Machine"), "{text}");
        for method in [
            "initialize",
            "probe",
            "check",
            "create",
            "address",
            "ready",
            "copy",
            "found",
        ] {
            assert!(schema["methods"][method]["params"].is_object(), "{method}");
        }
    }
}
