//! The binary `bascule`: arguments in, exit code out; everything else is in the library.

fn main() -> std::process::ExitCode {
    server::cli::main()
}
