//! Programs that play and record, and the shell around them. They find the file in `$F`.

/// A program that plays or records.
pub(crate) struct AudioProgram {
    /// Its name on the PATH.
    pub(super) name: &'static str,
    /// How it is called, in shell.
    pub(super) command: &'static str,
}

macro_rules! program {
    ($name:literal, $arguments:literal) => {
        AudioProgram { name: $name, command: concat!($name, " ", $arguments) }
    };
}

// PipeWire's own.
pub(super) const PW_PLAY: AudioProgram = program!("pw-play", r#""$F""#);
pub(super) const PW_CAT_PLAY: AudioProgram = program!("pw-cat", r#"-p "$F""#);
pub(super) const PW_RECORD: AudioProgram = program!("pw-record", r#"--rate 48000 --channels 2 --format s16 "$F""#);
pub(super) const PW_CAT_RECORD: AudioProgram = program!("pw-cat", r#"-r --rate 48000 --channels 2 --format s16 "$F""#);
// PulseAudio's, which PipeWire serves too.
pub(super) const PAPLAY: AudioProgram = program!("paplay", r#""$F""#);
pub(super) const PACAT: AudioProgram = program!("pacat", r#"--file-format=wav "$F""#);
pub(super) const PARECORD: AudioProgram =
    program!("parecord", r#"--file-format=wav --rate=48000 --channels=2 --format=s16le "$F""#);
pub(super) const PAREC: AudioProgram =
    program!("parec", r#"--file-format=wav --rate=48000 --channels=2 --format=s16le "$F""#);
// ALSA's, which reach a server by its plugin.
pub(super) const APLAY: AudioProgram = program!("aplay", r#""$F""#);
pub(super) const ARECORD: AudioProgram = program!("arecord", r#"-q -f S16_LE -c 2 -r 48000 "$F""#);

/// How much all recorders record in a second, in bytes: 48 kHz, two channels, 16 bits.
pub(super) const RECORDED_BYTES_PER_S: u32 = 48_000 * 4;

/// Their names, for a `for` loop of the shell's.
pub(super) fn names(programs: &[AudioProgram]) -> String {
    programs.iter().map(|program| program.name).collect::<Vec<_>>().join(" ")
}

/// The branches of `case $P in` that run them, each followed by `end`.
pub(super) fn branches(programs: &[AudioProgram], end: &str) -> String {
    programs.iter().map(|program| format!(" {}) {}{end} ;;\n", program.name, program.command)).collect()
}

/// The default sink or source.
#[derive(Debug, Clone, Copy)]
pub(super) enum DefaultNode {
    /// Where is played to.
    Sink,
    /// Where is recorded from.
    Source,
}

/// What makes it loud for a while, and what undoes that; nothing where it is not to be unmuted.
pub(super) fn unmute(node: DefaultNode, unmute: bool) -> (String, String) {
    if !unmute {
        return (String::new(), String::new());
    }
    let (kind, name) = match node {
        DefaultNode::Sink => ("sink", "@DEFAULT_SINK@"),
        DefaultNode::Source => ("source", "@DEFAULT_SOURCE@"),
    };
    (
        format!(
            "M=$(pactl get-{kind}-volume {name} | grep -o '[0-9]*%' | head -n 1); pactl set-{kind}-mute {name} 0; \
             pactl set-{kind}-volume {name} 70%;"
        ),
        format!("pactl set-{kind}-mute {name} 1; [ -n \"$M\" ] && pactl set-{kind}-volume {name} \"$M\";"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_runs_the_program_that_it_is_named_for() {
        assert_eq!(names(&[PW_PLAY, PACAT]), "pw-play pacat");
        assert_eq!(
            branches(&[PW_CAT_RECORD], " &"),
            " pw-cat) pw-cat -r --rate 48000 --channels 2 --format s16 \"$F\" & ;;\n"
        );
    }
}
