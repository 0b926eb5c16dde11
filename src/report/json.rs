//! The report for programs: one JSON document, of the version in its `schema`.

use crate::model::Report;

/// The report as one JSON document, with a line end.
pub fn render(report: &Report) -> String {
    pretty(report)
}

/// The JSON schema of the report (`nixbox schema report`), with a line end.
pub fn schema() -> String {
    pretty(&schemars::schema_for!(Report))
}

/// A value as a JSON document, with a line end. Ours have string keys and no serializer of their own, so it cannot fail;
/// if it did, the document has the error.
pub fn pretty(value: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value)
        .unwrap_or_else(|error| serde_json::json!({ "error": error.to_string() }).to_string());
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::report::examples;

    #[test]
    fn what_is_written_is_what_is_read() {
        for report in examples::all() {
            assert_eq!(serde_json::from_str::<Report>(&render(&report)).unwrap(), report);
        }
    }

    /// Every key that is written is in the schema, and every required one is written: walked by hand, for the few
    /// forms that the schema uses.
    fn fits(value: &Value, schema: &Value, root: &Value, path: &str) {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let found = root.pointer(name.trim_start_matches('#')).expect("a reference leads somewhere");
            return fits(value, found, root, path);
        }
        for (word, all) in [("anyOf", false), ("oneOf", false), ("allOf", true)] {
            if let Some(forms) = schema.get(word).and_then(Value::as_array) {
                let fitting = forms
                    .iter()
                    .filter(|form| std::panic::catch_unwind(|| fits(value, form, root, path)).is_ok())
                    .count();
                assert!(if all { fitting == forms.len() } else { fitting >= 1 }, "{path}: {value} fits no form");
            }
        }
        if let Some(constant) = schema.get("const") {
            assert_eq!(value, constant, "{path}");
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            assert!(values.contains(value), "{path}: {value}");
        }
        if let Some(kind) = schema.get("type") {
            let is = match value {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(number) if number.is_f64() => "number",
                Value::Number(_) => "integer",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            };
            let allowed = |kind: &Value| kind == is || (kind == "number" && is == "integer");
            assert!(
                kind.as_array().map_or_else(|| allowed(kind), |kinds| kinds.iter().any(allowed)),
                "{path}: {value}"
            );
        }
        match value {
            Value::Object(fields) => {
                for required in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
                    assert!(fields.contains_key(required.as_str().unwrap()), "{path}: {required} is missing");
                }
                let properties = schema.get("properties");
                for (name, field) in fields {
                    let known = properties.and_then(|properties| properties.get(name));
                    match known.or_else(|| schema.get("additionalProperties")) {
                        Some(form) if form.is_object() => fits(field, form, root, &format!("{path}.{name}")),
                        Some(_) => {}
                        None => assert!(properties.is_none(), "{path}: {name} is not in the schema"),
                    }
                }
            }
            Value::Array(items) => {
                for item in items {
                    if let Some(form) = schema.get("items") {
                        fits(item, form, root, &format!("{path}[]"));
                    }
                }
            }
            _ => {}
        }
    }

    #[test]
    fn reports_fit_their_schema() {
        let schema: Value = serde_json::from_str(&schema()).unwrap();
        for report in examples::all() {
            let value: Value = serde_json::from_str(&render(&report)).unwrap();
            assert_eq!(value["schema"], crate::model::REPORT_SCHEMA);
            fits(&value, &schema, &schema, "report");
        }
    }

    #[test]
    fn the_schema_as_it_is_printed() {
        insta::assert_snapshot!("report-schema", schema());
    }

    #[test]
    fn the_schema_refuses_what_does_not_fit() {
        let schema: Value = serde_json::from_str(&schema()).unwrap();
        let good: Value = serde_json::from_str(&render(&examples::pass())).unwrap();
        for (key, value) in [("verdict", Value::from("maybe")), ("exit", Value::from("0")), ("extra", Value::from(1))] {
            let mut bad = good.clone();
            bad[key] = value;
            assert!(std::panic::catch_unwind(|| fits(&bad, &schema, &schema, "report")).is_err(), "{key}");
        }
    }
}
