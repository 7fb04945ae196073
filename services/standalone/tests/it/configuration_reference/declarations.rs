//! What the workspace declares that configuration is read into.

use std::{
    fs,
    path::{Path, PathBuf},
};

use syn::{Attribute, Expr, Item, ItemEnum, ItemStruct, Lit, LitStr, Meta};

/// Every structure and enumeration that can be read, with the file that declares it.
pub struct Declarations(Vec<(PathBuf, Item)>);

/// What a name stands for.
pub enum Found {
    /// One of some words.
    Choice(Choice),
    /// Settings below a name, and the file that declares them.
    Structure(PathBuf, ItemStruct),
}

/// One of some words.
pub struct Choice {
    pub names: Vec<String>,
    pub default: Option<String>,
}

impl Declarations {
    pub fn of(root: &Path) -> Self {
        let mut all = Vec::new();
        for part in ["crates", "services"] {
            for entry in fs::read_dir(root.join(part)).unwrap() {
                read(&entry.unwrap().path().join("src"), root, &mut all);
            }
        }
        Self(all)
    }

    /// The structure that `file` declares under this name.
    pub fn structure(&self, name: &str, file: &Path) -> (PathBuf, ItemStruct) {
        match self.find(name, file) {
            Found::Structure(place, item) if place == file => (place, item),
            _ => panic!("{} declares no {name}", file.display()),
        }
    }

    /// What `name` means in `file`: what stands there, else in its crate, else in the one other place.
    pub fn find(&self, name: &str, file: &Path) -> Found {
        let of_name = |item: &Item| match item {
            Item::Struct(item) => item.ident == name,
            Item::Enum(item) => item.ident == name,
            _ => false,
        };
        let named: Vec<_> = self.0.iter().filter(|(_, item)| of_name(item)).collect();
        let crate_of = |file: &Path| file.components().take(2).collect::<PathBuf>();
        let nearest = named
            .iter()
            .find(|(place, _)| place == file)
            .or_else(|| named.iter().find(|(place, _)| crate_of(place) == crate_of(file)))
            .or_else(|| named.first().filter(|_| named.len() == 1));
        match nearest {
            Some((place, Item::Struct(item))) => Found::Structure(place.clone(), item.clone()),
            Some((_, Item::Enum(item))) => Found::Choice(choice(item)),
            _ => panic!("{}: {name} is declared in {} places", file.display(), named.len()),
        }
    }
}

fn read(folder: &Path, root: &Path, into: &mut Vec<(PathBuf, Item)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            read(&path, root, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            if !text.contains("Deserialize") {
                continue;
            }
            let place = path.strip_prefix(root).unwrap().to_owned();
            let items = syn::parse_file(&text).unwrap().items;
            into.extend(items.into_iter().filter(can_be_read).map(|item| (place.clone(), item)));
        }
    }
}

fn can_be_read(item: &Item) -> bool {
    let (Item::Struct(ItemStruct { attrs, .. }) | Item::Enum(ItemEnum { attrs, .. })) = item else {
        return false;
    };
    let mut readable = false;
    for derive in attrs.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        derive
            .parse_nested_meta(|meta| {
                readable |= meta.path.segments.last().is_some_and(|segment| segment.ident == "Deserialize");
                Ok(())
            })
            .unwrap();
    }
    readable
}

fn choice(of: &ItemEnum) -> Choice {
    let all = Serde::of(&of.attrs);
    let name = |variant: &syn::Variant| {
        let own = Serde::of(&variant.attrs).rename;
        own.unwrap_or_else(|| in_case(&variant.ident.to_string(), all.rename_all.as_deref()))
    };
    let default =
        of.variants.iter().find(|variant| variant.attrs.iter().any(|a| a.path().is_ident("default")));
    Choice { names: of.variants.iter().map(name).collect(), default: default.map(name) }
}

fn in_case(variant: &str, case: Option<&str>) -> String {
    let separator = match case {
        Some("lowercase") => "",
        Some("snake_case") => "_",
        other => panic!("{variant}: names in {other:?}"),
    };
    let mut name = String::new();
    for letter in variant.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push_str(separator);
        }
        name.extend(letter.to_lowercase());
    }
    name
}

/// What is said to serde.
#[derive(Default)]
pub struct Serde {
    pub default: bool,
    pub skip: bool,
    /// Not written when there is none.
    pub left_out: bool,
    pub rename: Option<String>,
    pub rename_all: Option<String>,
}

impl Serde {
    pub fn of(attributes: &[Attribute]) -> Self {
        let mut said = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
            attribute
                .parse_nested_meta(|meta| {
                    let value = if meta.input.peek(syn::Token![=]) {
                        Some(meta.value()?.parse::<LitStr>()?)
                    } else {
                        None
                    };
                    match meta.path.require_ident()?.to_string().as_str() {
                        "default" => said.default = true,
                        "skip" => said.skip = true,
                        "skip_serializing_if" => said.left_out = true,
                        "rename" => said.rename = value.map(|text| text.value()),
                        "rename_all" => said.rename_all = value.map(|text| text.value()),
                        _ => {}
                    }
                    Ok(())
                })
                .unwrap();
        }
        said
    }
}

/// The comment of an item, as a cell of a table.
pub fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter(|attribute| attribute.path().is_ident("doc")).map(|attribute| {
        let Meta::NameValue(pair) = &attribute.meta else { panic!("a comment without text") };
        let Expr::Lit(literal) = &pair.value else { panic!("a comment without text") };
        let Lit::Str(text) = &literal.lit else { panic!("a comment without text") };
        text.value().trim().to_owned()
    });
    let text = lines.collect::<Vec<_>>().join(" ");
    text.replace("[`", "`").replace("`]", "`").replace('|', "\\|")
}
