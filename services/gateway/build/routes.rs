//! `routes.rs`: a typed axum route for every public method.

use std::fmt::Write;

use embermesh_descriptors::{Body, Method};
use prost_reflect::Kind;

use crate::{constant, snake_case};

/// Served by this process itself; every other service is a client.
const OWN: [&str; 4] = ["Embeddings", "Cache", "Migrations", "Debug"];

/// The field by which a client chooses the form of an answer, which the edge alone knows.
pub const FORM: &str = "format";

pub fn generate(methods: &[Method]) -> Result<String, String> {
    let mut table = String::new();
    let mut handlers = String::new();
    for method in methods {
        let name = format!("{}_{}", snake_case(&method.service), snake_case(&method.name));
        writeln!(table, "        .route({:?}, {}({name}))", method.path, method.verb.lower())
            .map_err(|e| e.to_string())?;
        handlers.push_str(&handler(method, &name)?);
    }
    Ok(format!(
        "/// Every public method as a REST route.\npub(crate) fn routes() -> Router<AppState> {{\n    Router::new()\n{table}}}\n{handlers}"
    ))
}

fn handler(method: &Method, name: &str) -> Result<String, String> {
    let input = format!("v1::{}", method.input.name());
    let (decode, body) = match &method.body {
        Body::Query => ("incoming.query_alone()?", String::new()),
        Body::Whole => ("incoming.object().await?", String::new()),
        Body::Field(field) => {
            ("incoming.query()?", format!("    message.{field} = incoming.body().await?;\n"))
        }
    };
    let binds = method.path_fields.iter().map(|field| bind(method, field)).collect::<Result<String, _>>()?;
    // `answer` is what every answer becomes, unless its form can be chosen
    let (form, answer) = match method.input.get_field_by_name(FORM) {
        Some(_) => (format!("    let form = ReportForm::take(&mut message.{FORM})?;\n"), "form.answer"),
        None => (String::new(), "answer"),
    };
    let fields = body + &binds + &form;
    let mutable = if fields.is_empty() { "" } else { "mut " };
    let (service, call) = (snake_case(&method.service), snake_case(&method.name));
    let call = if OWN.contains(&method.service.as_str()) {
        format!("app.backends.{service}.{call}(incoming.own(message))")
    } else {
        format!("app.backends.{service}.clone().{call}(incoming.forwarded(message))")
    };
    let status = if method.created { "CREATED" } else { "OK" };
    Ok(format!(
        "
async fn {name}(State(app): State<AppState>, request: Request) -> Result<Response, Failure> {{
    let mut incoming = Incoming::admit(&app, request, &{constant})?;
    let {mutable}message: {input} = {decode};
{fields}    {answer}(StatusCode::{status}, {call}.await)
}}
",
        constant = constant(method),
    ))
}

fn bind(method: &Method, field: &str) -> Result<String, String> {
    let descriptor = method.input.get_field_by_name(field);
    let text = descriptor.is_some_and(|f| f.kind() == Kind::String && !f.is_list() && !f.supports_presence());
    if !text {
        return Err(format!(
            "{}.{}: path field {field} must be a plain string",
            method.service_full_name, method.name
        ));
    }
    Ok(format!("    incoming.bind({field:?}, &mut message.{field}).await?;\n"))
}
