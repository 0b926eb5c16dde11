//! The command `nixbox`.

fn main() {
    nixbox::machine::jail::maybe_enter();
}
