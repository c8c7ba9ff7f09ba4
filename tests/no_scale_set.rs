//! Input that holds no scale set at all: the answer names the input and the way out.

mod support;

use std::path::Path;

use support::command::deskrun_with_input;

#[test]
fn input_without_a_scale_set_is_answered_with_its_name_and_the_way_out() {
    for input in ["", "null\n", "---\n---\n", "# only a comment\n"] {
        let finished = deskrun_with_input(Path::new("."), &["render", "-"], Some(input));
        assert_eq!(finished.code, Some(1), "{input:?}: {}", finished.stderr);
        assert_eq!(finished.stdout, "", "{input:?}");
        for part in ["no RunnerScaleSet in <stdin>", "`kind: RunnerScaleSet`"] {
            assert!(finished.stderr.contains(part), "{input:?}: {}", finished.stderr);
        }
    }
}
