//! JSON patches, as far as sigma writes them and as kube-apiserver carries them out.

use serde_json::Value;

/// Carries out all operations of a patch, or none.
pub(super) fn apply(object: &Value, patch: &Value) -> Result<Value, String> {
    let mut changed = object.clone();
    for op in patch.as_array().ok_or("a patch is a list")? {
        let path = op["path"].as_str().ok_or("no path")?;
        let (parent, field) = path.rsplit_once('/').ok_or("no pointer")?;
        let field = field.replace("~1", "/").replace("~0", "~");
        let value = &op["value"];
        match op["op"].as_str() {
            // A `null` passes where there is no such field.
            Some("test") => {
                let found = changed.pointer(path).unwrap_or(&Value::Null);
                if found != value {
                    return Err(format!("testing value {path} failed"));
                }
            }
            Some("add") => {
                let parent = changed.pointer_mut(parent).and_then(Value::as_object_mut);
                parent.ok_or(format!("missing path {path}"))?.insert(field, value.clone());
            }
            Some("remove") => {
                let parent = changed.pointer_mut(parent).and_then(Value::as_object_mut);
                let removed = parent.and_then(|it| it.remove(&field));
                removed.ok_or(format!("missing path {path}"))?;
            }
            _ => return Err(format!("unknown operation {op}")),
        }
    }
    Ok(changed)
}
