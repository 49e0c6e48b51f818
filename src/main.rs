//! The command line of simctl.

fn main() -> std::process::ExitCode {
    simctl::cli::main()
}
