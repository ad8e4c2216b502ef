//! The compiler's process by itself, as the tests of this crate use it.

fn main() -> std::process::ExitCode {
    larder_runtime::compiler_main()
}
