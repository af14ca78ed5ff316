//! How the process talks to people: in colours or not, and whether it says more than what was asked for.
//!
//! It is settled once, when the arguments have been read. Until then, and in the programs that others know by other names, there
//! are no colours, and nothing is left out.
//!
//! | | colours |
//! |---|---|
//! | `--color always`, `never` | always, never |
//! | `NO_COLOR` is set | never |
//! | `CLICOLOR_FORCE` is set, and not to 0 | always |
//! | `CLICOLOR=0`, `TERM=dumb` | never |
//! | else | on a terminal |
//!
//! Variables that are empty are not set. Source: <https://bixense.com/clicolors>, <https://no-color.org>.

use std::io::{IsTerminal as _, stderr, stdout};
use std::sync::OnceLock;

use clap::builder::styling::{AnsiColor, Style};
use clap::{Args, ValueEnum};

use super::sources::environment;

/// What every verb takes, and the program before a verb.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct MannerArguments {
    /// When to use colours; on a terminal alone, NO_COLOR, CLICOLOR and CLICOLOR_FORCE are heeded
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t = ColorChoice::Auto,
        hide_default_value = true
    )]
    color: ColorChoice,
    /// Say nothing but the result and errors: no notes, no progress
    #[arg(short = 'q', long, global = true)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum ColorChoice {
    /// On a terminal, unless the environment says otherwise
    #[default]
    Auto,
    /// Also where it is no terminal
    Always,
    /// Nowhere
    Never,
}

/// What something is, for whoever looks at it: each has a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    /// As it should be.
    Good,
    /// Somebody should look.
    Odd,
    /// Something is broken.
    Bad,
    /// Of no interest to most.
    Dim,
}

#[derive(Clone, Copy, Debug, Default)]
struct Manner {
    output_in_colour: bool,
    errors_in_colour: bool,
    quiet: bool,
}

static MANNER: OnceLock<Manner> = OnceLock::new();

impl MannerArguments {
    /// From here on the process talks like this.
    pub(super) fn settle(self) {
        let environment = environment();
        let colours = |is_terminal| {
            let variable = |wanted: &str| {
                let set = environment.iter().find(|(name, _)| name == wanted);
                set.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
            };
            self.color.means_colours(variable, is_terminal)
        };
        let manner = Manner {
            output_in_colour: colours(stdout().is_terminal()),
            errors_in_colour: colours(stderr().is_terminal()),
            quiet: self.quiet,
        };
        MANNER.set(manner).expect("the arguments are read once");
    }
}

impl ColorChoice {
    fn means_colours<'a>(
        self,
        variable: impl Fn(&str) -> Option<&'a str>,
        is_terminal: bool,
    ) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto if variable("NO_COLOR").is_some() => false,
            Self::Auto if variable("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
            Self::Auto => {
                is_terminal && variable("CLICOLOR") != Some("0") && variable("TERM") != Some("dumb")
            }
        }
    }
}

impl Paint {
    const fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Odd => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Dim => Style::new().dimmed(),
        }
    }

    /// The text in its colour.
    pub(super) fn put_on(self, text: &str) -> String {
        let style = self.style();
        format!("{style}{text}{style:#}")
    }
}

fn manner() -> Manner {
    MANNER.get().copied().unwrap_or_default()
}

/// Whether tables are to have colours.
pub(super) fn output_in_colour() -> bool {
    manner().output_in_colour
}

/// Whether what is said on standard error is to have colours.
pub(super) fn errors_in_colour() -> bool {
    manner().errors_in_colour
}

/// The name of the program as an error begins with it.
pub(super) fn error_lead() -> String {
    if errors_in_colour() { Paint::Bad.put_on("ottla:") } else { "ottla:".to_owned() }
}

/// Whether nothing is to be said but results and errors.
pub(super) fn is_quiet() -> bool {
    manner().quiet
}

/// Whether there is somebody at standard error who may be told how far things are.
pub(super) fn has_spectators() -> bool {
    !is_quiet() && stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_as_the_flag_says_then_the_environment_then_the_terminal() {
        let auto = ColorChoice::Auto;
        for (choice, variables, on_terminal, elsewhere) in [
            (auto, &[][..], true, false),
            (auto, &[("NO_COLOR", "1")], false, false),
            (auto, &[("CLICOLOR_FORCE", "1")], true, true),
            (auto, &[("CLICOLOR_FORCE", "0")], true, false),
            (auto, &[("CLICOLOR", "0")], false, false),
            (auto, &[("CLICOLOR", "1")], true, false),
            (auto, &[("TERM", "dumb")], false, false),
            (auto, &[("CLICOLOR_FORCE", "1"), ("CLICOLOR", "0")], true, true),
            (auto, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "x")], false, false),
            (ColorChoice::Always, &[("NO_COLOR", "1")], true, true),
            (ColorChoice::Never, &[("CLICOLOR_FORCE", "1")], false, false),
        ] {
            let variable = |wanted: &str| {
                variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value)
            };
            let found = [true, false].map(|terminal| choice.means_colours(variable, terminal));
            assert_eq!(found, [on_terminal, elsewhere], "{choice:?} {variables:?}");
        }
    }
}
