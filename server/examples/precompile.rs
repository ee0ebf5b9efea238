//! Compiles the edge module ahead of time for this machine: `precompile MODULE.wasm OUT.cwasm`.
//! `cargo xtask` runs it before it builds the binary that embeds the result.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [module, out] = arguments.as_slice() else {
        eprintln!("usage: precompile MODULE.wasm OUT.cwasm");
        return ExitCode::from(2);
    };
    match precompile(module.as_ref(), out.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("precompile: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn precompile(module: &std::path::Path, out: &std::path::Path) -> anyhow::Result<()> {
    let code = server::host::Module::precompile(&std::fs::read(module)?)?;
    // Unchanged bytes keep their time stamp, so that nothing is built again for nothing.
    if std::fs::read(out).is_ok_and(|old| old == code) {
        return Ok(());
    }
    Ok(std::fs::write(out, code)?)
}
