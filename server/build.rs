//! Embeds the edge module: the WebAssembly bytes, and the machine code precompiled from them when
//! `cargo xtask` left it beside them.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=BASCULE_MODULE");
    let target = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    // OUT_DIR is TARGET/PROFILE/build/PACKAGE-HASH/out.
    let fallback = target.ancestors().nth(4).unwrap_or(Path::new("target")).join("module/edge_module.wasm");
    let module = env::var_os("BASCULE_MODULE").map_or(fallback, PathBuf::from);
    println!("cargo::rerun-if-changed={}", module.display());
    if !module.is_file() {
        println!(
            "cargo::error=the edge module is not built yet: run `cargo xtask build`, which builds it and then this binary"
        );
        return;
    }
    println!("cargo::rustc-env=BASCULE_MODULE_WASM={}", module.display());

    let precompiled = module.with_extension("cwasm");
    println!("cargo::rerun-if-changed={}", precompiled.display());
    let embedded = target.join("edge_module.cwasm");
    // Absent or stale machine code only costs start-up time: the host compiles the module itself.
    let code = fs::read(&precompiled).unwrap_or_default();
    if let Err(error) = fs::write(&embedded, code) {
        println!("cargo::error=cannot write {}: {error}", embedded.display());
    }
    println!("cargo::rustc-env=BASCULE_MODULE_CWASM={}", embedded.display());
}
