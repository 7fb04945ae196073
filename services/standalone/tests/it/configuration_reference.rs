//! `docs/configuration.md` lists every setting. Names, defaults and what they are for are read off the code, so none is missing and
//! none is made up.

mod declarations;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use embermesh_config::Config;
use serde::Serialize;
use serde_json::Value;
use syn::{Field, ItemStruct, Type};

use declarations::{Declarations, Found, Serde, doc};

const PAGE: &str = "docs/configuration.md";
const BEGIN: &str = "<!-- settings -->\n";
const END: &str = "<!-- end of settings -->";

/// Types that are written as one value, or as a list of values. Any other has to be declared in the workspace.
const LEAVES: [&str; 16] = [
    "bool",
    "f32",
    "f64",
    "u16",
    "u32",
    "u64",
    "usize",
    "NonZeroUsize",
    "String",
    "PathBuf",
    "Secret",
    "Span",
    "Duration",
    "SocketAddr",
    "IpNet",
    "Entity",
];
/// Written as `name: expression`, by code of its own.
const WRITTEN_BY_HAND: [&str; 1] = ["PiiPattern"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_page_lists_every_setting_as_the_code_has_it() {
    let written = fs::read_to_string(root().join(PAGE)).unwrap();
    let (head, rest) = written.split_once(BEGIN).unwrap();
    let (_, tail) = rest.split_once(END).unwrap();
    let due = format!("{head}{BEGIN}{}\n{END}{tail}", Reference::of_the_code().sections());
    if std::env::var_os("EMBERMESH_WRITE").is_some() {
        fs::write(root().join(PAGE), due).unwrap();
        return;
    }
    let differs = due.lines().find(|line| !written.lines().any(|other| other == *line));
    let gone = written.lines().find(|line| !due.lines().any(|other| other == *line));
    assert!(due == written, "{PAGE} is another, run this test with EMBERMESH_WRITE=1: {differs:?}, {gone:?}");
}

/// A section that a service declares itself: its name, the file, the defaults.
struct OwnSection {
    file: &'static str,
    defaults: Value,
}

fn own_sections() -> BTreeMap<&'static str, OwnSection> {
    fn one(file: &'static str, defaults: impl Serialize) -> OwnSection {
        OwnSection { file, defaults: serde_json::to_value(defaults).unwrap() }
    }
    [
        ("gateway", one("services/gateway/src/settings.rs", embermesh_gateway::Settings::default())),
        ("store", one("services/vector-store/src/settings.rs", embermesh_vector_store::Settings::default())),
        ("ledger", one("services/cost-ledger/src/settings.rs", embermesh_cost_ledger::Settings::default())),
        ("admin", one("services/admin/src/settings.rs", embermesh_admin::Settings::default())),
    ]
    .into()
}

struct Row {
    path: String,
    default: String,
    what: String,
}

struct Reference {
    declarations: Declarations,
    rows: Vec<Row>,
    /// Where each structure is listed; elsewhere one line leads there.
    listed: BTreeMap<(PathBuf, String), String>,
}

impl Reference {
    fn of_the_code() -> Self {
        let declarations = Declarations::of(&root());
        let mut reference = Self { declarations, rows: Vec::new(), listed: BTreeMap::new() };
        let file = Path::new("crates/config/src/load.rs");
        let (file, config) = reference.declarations.structure("Config", file);
        let defaults = serde_json::to_value(Config::default()).unwrap();
        let mut own = own_sections();
        for field in &config.fields {
            let name = field.ident.as_ref().unwrap().to_string();
            match own.remove(name.as_str()) {
                Some(section) => {
                    let (file, settings) =
                        reference.declarations.structure("Settings", Path::new(section.file));
                    reference.fields(&settings, &file, &name, Some(&section.defaults));
                }
                None => reference.field(field, &file, &name, defaults.get(&name), false),
            }
        }
        assert!(own.is_empty(), "a service's section has left the configuration");
        reference
    }

    fn fields(&mut self, of: &ItemStruct, file: &Path, path: &str, defaults: Option<&Value>) {
        let all_optional = Serde::of(&of.attrs).default;
        for field in &of.fields {
            let name = field.ident.as_ref().unwrap().to_string();
            let serde = Serde::of(&field.attrs);
            if serde.skip {
                continue;
            }
            let default = defaults.and_then(|all| all.get(&name));
            assert!(
                defaults.is_none_or(Value::is_null) || default.is_some() || serde.left_out,
                "{path}.{name} goes by another name"
            );
            let required = !all_optional && !serde.default;
            self.field(field, file, &format!("{path}.{name}"), default, required);
        }
    }

    fn field(&mut self, field: &Field, file: &Path, path: &str, default: Option<&Value>, required: bool) {
        let (wrapped, name) = innermost(&field.ty);
        let what = doc(&field.attrs);
        let required = required && !wrapped.contains(&"Option");
        if LEAVES.contains(&name.as_str()) || WRITTEN_BY_HAND.contains(&name.as_str()) {
            self.rows.push(Row { path: path.to_owned(), default: shown(default, required), what });
            return;
        }
        match self.declarations.find(&name, file) {
            Found::Choice(choice) => {
                let default = match default {
                    None if !required && wrapped.is_empty() => {
                        choice.default.map_or_else(|| shown(None, false), |d| format!("`{d}`"))
                    }
                    default => shown(default, required),
                };
                let what = format!("{what} One of `{}`.", choice.names.join("`, `"));
                self.rows.push(Row { path: path.to_owned(), default, what });
            }
            Found::Structure(inner, item) => {
                // of what stands under names of the operator's there is none by default
                let (path, default) = match wrapped.contains(&"BTreeMap") {
                    true => (format!("{path}.<name>"), None),
                    false => (path.to_owned(), default),
                };
                let declared = (inner.clone(), name);
                if let Some(first) = self.listed.get(&declared) {
                    let what = format!("{what} Has what `{first}` has.");
                    self.rows.push(Row { path, default: shown(None, required), what });
                    return;
                }
                self.listed.insert(declared, path.clone());
                self.fields(&item, &inner, &path, default);
            }
        }
    }

    /// A table for each section, in the order of the code.
    fn sections(&self) -> String {
        let mut sections: Vec<(&str, Vec<&Row>)> = Vec::new();
        for row in &self.rows {
            let name = row.path.split_once('.').map_or("Besides", |(section, _)| section);
            match sections.iter_mut().find(|(known, _)| *known == name) {
                Some((_, rows)) => rows.push(row),
                None => sections.push((name, vec![row])),
            }
        }
        let table = |(name, rows): &(&str, Vec<&Row>)| {
            let rows =
                rows.iter().map(|row| format!("| `{}` | {} | {} |\n", row.path, row.default, row.what));
            format!("\n### {name}\n\n| key | default | what |\n|---|---|---|\n{}", rows.collect::<String>())
        };
        sections.iter().map(table).collect()
    }
}

/// What a field's type is a list, a map or an option of, and by which of them.
fn innermost(of: &Type) -> (Vec<&'static str>, String) {
    let Type::Path(path) = of else { panic!("a setting has a type that is no path") };
    let last = path.path.segments.last().unwrap();
    let wrapper = ["Option", "Vec", "BTreeSet", "BTreeMap"].into_iter().find(|name| last.ident == name);
    let Some(wrapper) = wrapper else { return (Vec::new(), last.ident.to_string()) };
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else {
        panic!("{wrapper} of nothing")
    };
    let Some(syn::GenericArgument::Type(inner)) = arguments.args.last() else {
        panic!("{wrapper} of nothing")
    };
    let (mut wrapped, name) = innermost(inner);
    wrapped.push(wrapper);
    (wrapped, name)
}

fn shown(default: Option<&Value>, required: bool) -> String {
    let one = |value: &Value| value.as_str().map_or_else(|| format!("`{value}`"), |text| format!("`{text}`"));
    match default {
        _ if required => "required".to_owned(),
        None | Some(Value::Null) => "–".to_owned(),
        Some(Value::Array(items)) if items.is_empty() => "–".to_owned(),
        Some(Value::Object(items)) if items.is_empty() => "–".to_owned(),
        Some(Value::Array(items)) => items.iter().map(one).collect::<Vec<_>>().join(", "),
        Some(value) => one(value),
    }
}
