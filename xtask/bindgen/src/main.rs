//! Makes the JavaScript beside a WebAssembly file: `bindgen FILE FOLDER` writes `glue.js` and `glue_bg.wasm`.
//!
//! A program of its own, so that its dependencies are pinned by a lock file and only who builds the Worker builds them.

use std::path::Path;
use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, folder] = &args[..] else {
        eprintln!("usage: bindgen FILE FOLDER");
        return ExitCode::from(2);
    };
    match make(file, Path::new(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bindgen: {error}");
            ExitCode::FAILURE
        }
    }
}

/// For a host that instantiates the module itself, and can replace an instance that has trapped.
fn make(file: &str, folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut bindgen = Bindgen::new();
    bindgen.input_path(file).out_name("glue").web(true)?.typescript(false).reset_state_function(true);
    Ok(bindgen.generate(folder)?)
}
