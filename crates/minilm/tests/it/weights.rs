//! The model, loaded once for all tests.

use std::{
    env,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use embermesh_minilm::MiniLm;

/// `EMBERMESH_MODEL_DIR`, or where the script puts the weights.
pub fn dir() -> PathBuf {
    let dir = env::var_os("EMBERMESH_MODEL_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/minilm"), PathBuf::from);
    assert!(
        dir.join("model.safetensors").exists(),
        "no model weights in {}: run scripts/fetch-model-weights.sh, or set EMBERMESH_MODEL_DIR",
        dir.display()
    );
    dir
}

pub fn model() -> Arc<MiniLm> {
    static MODEL: LazyLock<Arc<MiniLm>> = LazyLock::new(|| Arc::new(MiniLm::load(&dir()).unwrap()));
    Arc::clone(&MODEL)
}
