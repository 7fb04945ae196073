//! Compiles `proto/` and answers what build scripts ask about it: services, REST routes, scopes, and how fields look in JSON.
//! For build scripts only; nothing that runs in production depends on it.

mod fields;
mod routes;

use std::path::{Path, PathBuf};

use prost_reflect::DescriptorPool;
use prost_types::FileDescriptorSet;

pub use fields::{JsonField, JsonForm};
pub use routes::{Body, Method, Verb};

/// Why the contracts could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A contract does not compile.
    #[error("cannot compile the contracts: {0}")]
    Compile(#[from] protox::Error),
    /// A descriptor cannot be read back.
    #[error("cannot read the descriptors: {0}")]
    Descriptor(#[from] prost_reflect::DescriptorError),
    /// A folder cannot be listed.
    #[error("cannot list {path}: {error}")]
    Io {
        /// Which folder.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// An annotation that makes no sense.
    #[error("{method}: {problem}")]
    Annotation {
        /// Full name of the method.
        method: String,
        /// What is wrong.
        problem: String,
    },
}

/// The compiled contracts.
#[derive(Debug)]
pub struct Contracts {
    /// The `.proto` files, for `rerun-if-changed`.
    pub files: Vec<PathBuf>,
    /// For the code generator.
    pub set: FileDescriptorSet,
    /// The encoded set, extensions kept.
    pub encoded: Vec<u8>,
    pool: DescriptorPool,
}

impl Contracts {
    /// Compiles every `.proto` file below `root`.
    pub fn compile(root: &Path) -> Result<Self, Error> {
        let mut files = Vec::new();
        list(&root.join("embermesh"), &mut files)?;
        files.sort();
        let mut compiler = protox::Compiler::new([root])?;
        compiler.include_imports(true).include_source_info(true).open_files(&files)?;
        // the encoded form keeps extensions, which `file_descriptor_set` drops
        let encoded = compiler.encode_file_descriptor_set();
        let pool = DescriptorPool::decode(encoded.as_slice())?;
        Ok(Self { files, set: compiler.file_descriptor_set(), encoded, pool })
    }

    /// Every message of `package`, nested map entries left out.
    pub fn messages(&self, package: &str) -> Vec<prost_reflect::MessageDescriptor> {
        self.pool.all_messages().filter(|m| m.package_name() == package && !m.is_map_entry()).collect()
    }

    /// Every method of `package`, in the order of the contracts.
    pub fn methods(&self, package: &str) -> Result<Vec<Method>, Error> {
        let services = self.pool.services().filter(|service| service.package_name() == package);
        services.flat_map(|service| service.methods().collect::<Vec<_>>()).map(|m| routes::read(&m)).collect()
    }
}

fn list(folder: &Path, into: &mut Vec<PathBuf>) -> Result<(), Error> {
    let io = |error| Error::Io { path: folder.to_owned(), error };
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.is_dir() {
            list(&path, into)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            into.push(path);
        }
    }
    Ok(())
}

/// The comment above an element of a contract, as plain text.
pub(crate) fn comment(file: &prost_reflect::FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let location = info.and_then(|info| info.location.iter().find(|l| l.path == path));
    let text = location.and_then(|l| l.leading_comments.as_deref()).unwrap_or_default();
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
}
