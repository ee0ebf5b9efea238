//! A compiled edge module that keeps the contract of `edge-abi`.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use edge_abi::{
    ABI_VERSION, EXPORT_ABI_VERSION, EXPORT_CONFIGURE, EXPORT_DECIDE, EXPORT_EVALUATE, EXPORT_EXPLAIN, EXPORT_INPUT,
    EXPORT_MEMORY,
};
use sha2::{Digest, Sha256};

use super::instance::{HostError, Instance, Limited};
use super::limits;

const EMBEDDED: &[u8] = include_bytes!(env!("BASCULE_MODULE_WASM"));
const PRECOMPILED: &[u8] = include_bytes!(env!("BASCULE_MODULE_CWASM"));
/// Bytes of a SHA-256; precompiled code starts with that of the module it was made from.
const HASH_BYTES: usize = 32;
/// A module is some hundred KiB; a file far beyond is a mistake.
const MAX_MODULE_BYTES: u64 = 16 << 20;

/// Why a module is refused.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The file cannot be read.
    #[error("cannot read the module {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is too large to be one.
    #[error("{path} has {size} bytes, a module at most {MAX_MODULE_BYTES}")]
    TooLarge {
        /// The file.
        path: String,
        /// Its size.
        size: u64,
    },
    /// It is no valid WebAssembly, or no engine can be made.
    #[error("the module does not compile")]
    Compile(#[source] wasmtime::Error),
    /// It wants something from the host.
    #[error("the module imports `{0}`, and an edge module imports nothing")]
    Imports(String),
    /// An export is missing or of another type.
    #[error("the module does not export `{0}` as the contract has it")]
    Export(&'static str),
    /// It is of another generation.
    #[error("the module has ABI {found}, this host speaks {expected}")]
    AbiVersion {
        /// `major.minor` of the module.
        found: String,
        /// `major.minor` of the host.
        expected: String,
    },
    /// It cannot even answer its version.
    #[error("the module does not run")]
    Run(#[source] HostError),
}

/// A module that was verified against the contract. Cheap to clone.
#[derive(Clone)]
pub struct Module(Arc<Verified>);

struct Verified {
    pre: wasmtime::InstancePre<Limited>,
    hash: String,
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Module({})", self.0.hash)
    }
}

impl Module {
    /// The module in this binary. Compiled once per process, or taken from the code compiled at build
    /// time when it fits this processor.
    pub fn embedded() -> Result<Self, ModuleError> {
        static MODULE: OnceLock<Module> = OnceLock::new();
        if let Some(module) = MODULE.get() {
            return Ok(module.clone());
        }
        let hash = Sha256::digest(EMBEDDED);
        let engine = limits::engine().map_err(ModuleError::Compile)?;
        let module = match load_precompiled(engine, &hash) {
            Some(compiled) => Self::verify(&compiled, &hash)?,
            None => Self::compile(EMBEDDED)?,
        };
        Ok(MODULE.get_or_init(|| module).clone())
    }

    /// A module from a `.wasm` file. Machine code is never loaded from outside.
    pub fn from_file(path: &Path) -> Result<Self, ModuleError> {
        let read = |source| ModuleError::Read { path: path.display().to_string(), source };
        let size = std::fs::metadata(path).map_err(read)?.len();
        if size > MAX_MODULE_BYTES {
            return Err(ModuleError::TooLarge { path: path.display().to_string(), size });
        }
        Self::compile(&std::fs::read(path).map_err(read)?)
    }

    /// Compiles and verifies WebAssembly bytes.
    pub fn compile(wasm: &[u8]) -> Result<Self, ModuleError> {
        let engine = limits::engine().map_err(ModuleError::Compile)?;
        // `from_binary` does not accept the text format or precompiled code.
        let compiled = wasmtime::Module::from_binary(engine, wasm).map_err(ModuleError::Compile)?;
        Self::verify(&compiled, &Sha256::digest(wasm))
    }

    /// Compiles WebAssembly ahead of time, in the form that the build embeds.
    pub fn precompile(wasm: &[u8]) -> Result<Vec<u8>, ModuleError> {
        let engine = limits::engine().map_err(ModuleError::Compile)?;
        let code = engine.precompile_module(wasm).map_err(ModuleError::Compile)?;
        Ok([Sha256::digest(wasm).as_slice(), &code].concat())
    }

    /// SHA-256 of the WebAssembly bytes in lower-case hex: the engine hash.
    pub fn hash(&self) -> &str {
        &self.0.hash
    }

    pub(super) fn instantiate(&self) -> Result<Instance, HostError> {
        Instance::new(&self.0.pre)
    }

    fn verify(compiled: &wasmtime::Module, hash: &[u8]) -> Result<Self, ModuleError> {
        if let Some(import) = compiled.imports().next() {
            return Err(ModuleError::Imports(format!("{}.{}", import.module(), import.name())));
        }
        for name in [EXPORT_ABI_VERSION, EXPORT_INPUT, EXPORT_CONFIGURE, EXPORT_DECIDE, EXPORT_EVALUATE, EXPORT_EXPLAIN]
        {
            if compiled.get_export(name).and_then(|export| export.func().cloned()).is_none() {
                return Err(ModuleError::Export(name));
            }
        }
        if compiled.get_export(EXPORT_MEMORY).and_then(|export| export.memory().cloned()).is_none() {
            return Err(ModuleError::Export(EXPORT_MEMORY));
        }
        let pre = wasmtime::Linker::new(compiled.engine()).instantiate_pre(compiled).map_err(ModuleError::Compile)?;
        let hash = hash.iter().fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        let module = Self(Arc::new(Verified { pre, hash }));
        let found = module.instantiate().and_then(|mut instance| instance.abi_version()).map_err(ModuleError::Run)?;
        // Another major is another contract; a lower minor lacks what this host may use.
        if found >> 16 != ABI_VERSION >> 16 || found < ABI_VERSION {
            let shown = |version: u32| format!("{}.{}", version >> 16, version & 0xffff);
            return Err(ModuleError::AbiVersion { found: shown(found), expected: shown(ABI_VERSION) });
        }
        Ok(module)
    }
}

/// The code compiled at build time, when it was made from the embedded module and fits this machine.
#[expect(unsafe_code, reason = "wasmtime cannot prove where machine code comes from; we can")]
fn load_precompiled(engine: &wasmtime::Engine, hash: &[u8]) -> Option<wasmtime::Module> {
    let (made_from, code) = PRECOMPILED.split_at_checked(HASH_BYTES)?;
    if made_from != hash {
        return None;
    }
    // SAFETY: the bytes are part of this binary and were made by `Module::precompile` from the module
    // whose hash they carry. wasmtime itself refuses code of another version or processor.
    unsafe { wasmtime::Module::deserialize(engine, code) }.ok()
}
