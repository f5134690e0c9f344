//! The part of Go's text/template that people use with docker's `--format`: fields, `json`, `lower`, `upper`.
//!
//! Field names are matched without regard to case and underscores, so that `{{.Name}}` finds `name`.

use anyhow::Result;
use serde_json::Value;

use super::error::Usage;

/// A parsed template.
pub struct GoTemplate {
    parts: Vec<Part>,
}

enum Part {
    Text(String),
    Field {
        function: Option<Function>,
        path: Vec<String>,
    },
}

#[derive(Clone, Copy)]
enum Function {
    Json,
    Lower,
    Upper,
}

impl GoTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// With what is not understood.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = Vec::new();
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, after) = after
                .split_once("}}")
                .ok_or_else(|| Usage("--format: an opening {{ is never closed".into()))?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(action_part(action)?);
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(GoTemplate { parts })
    }

    /// Fills the template in.
    ///
    /// # Errors
    /// If it names a field that is not there.
    pub fn render(&self, item: &Value) -> Result<String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field { function, path } => {
                    let value = find(item, path)?;
                    out.push_str(&match function {
                        Some(Function::Json) => value.to_string(),
                        Some(Function::Lower) => plain(value).to_lowercase(),
                        Some(Function::Upper) => plain(value).to_uppercase(),
                        None => plain(value),
                    });
                }
            }
        }
        Ok(out)
    }
}

fn action_part(action: &str) -> Result<Part> {
    let mut words: Vec<&str> = action.split_whitespace().collect();
    let function = match words.as_slice() {
        [name, _] => {
            let function = match *name {
                "json" => Function::Json,
                "lower" => Function::Lower,
                "upper" => Function::Upper,
                other => {
                    let known = "berth knows json, lower and upper";
                    return Err(Usage(format!("--format: no function {other:?}: {known}")).into());
                }
            };
            words.remove(0);
            Some(function)
        }
        _ => None,
    };
    let path = match words.as_slice() {
        [path] => path.strip_prefix('.'),
        _ => None,
    };
    let path = path.ok_or_else(|| {
        Usage(format!(
            "--format: {{{{{action}}}}} is not understood: write {{{{.Field}}}} or {{{{json .Field}}}}"
        ))
    })?;
    Ok(Part::Field {
        function,
        path: path
            .split('.')
            .filter(|p| !p.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

fn find<'a>(item: &'a Value, path: &[String]) -> Result<&'a Value> {
    let mut value = item;
    for name in path {
        value = match value {
            Value::Null => return Ok(value),
            Value::Object(fields) => {
                let found = fields.iter().find(|(key, _)| same(key, name));
                let known = || fields.keys().cloned().collect::<Vec<_>>().join(", ");
                found.map(|(_, value)| value).ok_or_else(|| {
                    Usage(format!(
                        "--format: no field {name:?}: there are {}",
                        known()
                    ))
                })?
            }
            _ => {
                return Err(
                    Usage(format!("--format: {name:?} is looked for in a plain value")).into(),
                );
            }
        };
    }
    Ok(value)
}

fn same(key: &str, name: &str) -> bool {
    let bare = |text: &str| text.replace('_', "").to_ascii_lowercase();
    bare(key) == bare(name)
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| format!("{key}={}", plain(value)))
            .collect::<Vec<_>>()
            .join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(template: &str) -> Result<String> {
        GoTemplate::parse(template)?.render(&json!({
            "name": "web1", "ssh": {"port": 42001}, "labels": {"a": "1", "b": "2"}, "error": null
        }))
    }

    #[test]
    fn templates_read_like_dockers() {
        assert_eq!(render("{{.Name}}\\t{{.SSH.Port}}").unwrap(), "web1\t42001");
        assert_eq!(render("{{ upper .name }}!").unwrap(), "WEB1!");
        assert_eq!(render("{{json .Labels}}").unwrap(), r#"{"a":"1","b":"2"}"#);
        assert_eq!(render("{{.Labels}}").unwrap(), "a=1,b=2");
        assert_eq!(render("[{{.Error}}]").unwrap(), "[]");
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for bad in [
            "{{.Name",
            "{{.Nope}}",
            "{{range .X}}",
            "{{printf .Name}}",
            "{{.Name.X}}",
        ] {
            assert!(render(bad).is_err(), "{bad}");
        }
    }
}
