//! The REST route and the scope of a method, from its annotations.

use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor, Value};

use crate::Error;

/// An HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// GET.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

impl Verb {
    /// Lowercase name, as OpenAPI and axum have it.
    pub const fn lower(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

/// Where the fields of a request come from, beside the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The query string.
    Query,
    /// The JSON body is the message.
    Whole,
    /// The JSON body is this field.
    Field(String),
}

/// One method of a public service.
#[derive(Debug, Clone)]
pub struct Method {
    /// `Embeddings`.
    pub service: String,
    /// `embermesh.v1.Embeddings`.
    pub service_full_name: String,
    /// `EmbedBatch`.
    pub name: String,
    /// Request message.
    pub input: MessageDescriptor,
    /// Answer message.
    pub output: MessageDescriptor,
    /// HTTP method.
    pub verb: Verb,
    /// `/api/v1/embeddings/{embedding_id}`.
    pub path: String,
    /// Names between braces in the path; fields of the request.
    pub path_fields: Vec<String>,
    /// Where the other fields come from.
    pub body: Body,
    /// Any of these scopes is enough.
    pub scopes: Vec<String>,
    /// Answers 201.
    pub created: bool,
    /// Only for keys of the operator's tenant.
    pub operator: bool,
    /// The comment in the contract.
    pub comment: String,
}

pub(crate) fn read(method: &MethodDescriptor) -> Result<Method, Error> {
    let wrong = |problem: &str| Error::Annotation {
        method: method.full_name().to_owned(),
        problem: problem.to_owned(),
    };
    let options = method.options();
    let extension =
        |name: &str| options.extensions().find(|(e, _)| e.full_name() == name).map(|(_, v)| v.clone());

    let Some(Value::Message(rule)) = extension("google.api.http") else {
        return Err(wrong("has no google.api.http option"));
    };
    let verbs = [Verb::Get, Verb::Post, Verb::Put, Verb::Patch, Verb::Delete];
    let bound =
        |verb: Verb| text(&rule, verb.lower()).filter(|path| !path.is_empty()).map(|path| (verb, path));
    let (verb, path) = verbs.into_iter().find_map(bound).ok_or_else(|| wrong("binds no path"))?;
    let body = match text(&rule, "body").as_deref() {
        None | Some("") => Body::Query,
        Some("*") => Body::Whole,
        Some(field) => Body::Field(field.to_owned()),
    };
    let path_fields: Vec<String> = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{').and_then(|p| p.strip_suffix('}')))
        .map(str::to_owned)
        .collect();
    let input = method.input();
    if let Some(missing) = path_fields.iter().find(|name| input.get_field_by_name(name).is_none()) {
        return Err(wrong(&format!("path names {missing}, which the request does not have")));
    }
    let Some(Value::String(scope)) = extension("embermesh.scope") else {
        return Err(wrong("has no embermesh.scope option"));
    };
    Ok(Method {
        service: method.parent_service().name().to_owned(),
        service_full_name: method.parent_service().full_name().to_owned(),
        name: method.name().to_owned(),
        output: method.output(),
        input,
        verb,
        path,
        path_fields,
        body,
        scopes: scope.split(',').map(|s| s.trim().to_owned()).collect(),
        created: matches!(extension("embermesh.created"), Some(Value::Bool(true))),
        operator: matches!(extension("embermesh.operator"), Some(Value::Bool(true))),
        comment: crate::comment(&method.parent_file(), method.path()),
    })
}

fn text(rule: &DynamicMessage, field: &str) -> Option<String> {
    rule.has_field_by_name(field).then(|| rule.get_field_by_name(field))??.as_str().map(str::to_owned)
}
