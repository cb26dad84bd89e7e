use super::*;
use ff_graph::Params;
use ff_tensor::Device;

/// Three documents of three tokens each; the middle one of each ends a question.
#[derive(Debug)]
struct Threes;

impl Tokens for Threes {
    fn len(&self) -> u64 {
        9
    }
    fn read(&self, start: u64, ids: &mut [i32]) -> ff_graph::Result<()> {
        ids.iter_mut().zip(start..).for_each(|(id, i)| *id = [10, 7, 11][i as usize % 3]);
        Ok(())
    }
    fn segments(&self, start: u64, documents: &mut [i32]) -> ff_graph::Result<()> {
        let number = |i: u64| (i / 3 - start / 3) as i32;
        documents.iter_mut().zip(start..).for_each(|(d, i)| *d = number(i));
        Ok(())
    }
}

fn gathered(windows: Windows, start: u64) -> [Vec<i32>; 4] {
    let device = Device::default();
    let params = Params::allocate(&device, DType::F32, vec![], false).unwrap();
    let mut graph = Graph::new(&device, params);
    let (batch, targets) = gather(&mut graph, &Threes, windows, 1, |_| start).unwrap();
    let of = |value: &Value| value.slice::<i32>().unwrap().to_vec();
    let segments = batch.segments.as_ref().map_or(Vec::new(), of);
    [of(&batch.ids), of(&batch.positions), of(&targets), segments]
}

#[test]
fn a_window_predicts_the_token_after_each() {
    let windows = Windows { context: 4, ..Windows::default() };
    let [ids, positions, targets, segments] = gathered(windows, 1);
    assert_eq!((ids, positions), (vec![7, 11, 10, 7], vec![0, 1, 2, 3]));
    assert_eq!((targets, segments), (vec![11, 10, 7, 11], vec![]));
    // Behind the end there is nothing to predict, and padding.
    let [ids, _, targets, _] = gathered(windows, 7);
    assert_eq!((ids, targets), (vec![7, 11, 0, 0], vec![11, IGNORED, IGNORED, IGNORED]));
}

#[test]
fn documents_kept_apart_do_not_predict_each_other() {
    let windows = Windows { context: 5, separate: true, ..Windows::default() };
    let [_, positions, targets, segments] = gathered(windows, 1);
    assert_eq!((positions, segments), (vec![0, 1, 0, 1, 2], vec![0, 0, 1, 1, 1]));
    // The token behind the window begins another document.
    assert_eq!(targets, [11, IGNORED, 7, 11, IGNORED]);
    let [_, positions, targets, segments] = gathered(windows, 6);
    assert_eq!((positions[..3].to_vec(), segments), (vec![0, 1, 2], vec![0, 0, 0, -1, -1]));
    assert_eq!(targets, [7, 11, IGNORED, IGNORED, IGNORED]);
}

#[test]
fn packed_answers_end_with_their_document() {
    let packed = Windows { context: 6, after: Some(7), ..Windows::default() };
    let [_, positions, targets, segments] = gathered(packed, 0);
    assert_eq!(targets, [IGNORED, 11, IGNORED, IGNORED, 11, IGNORED]);
    assert_eq!((positions, segments), (vec![0, 1, 2, 3, 4, 5], vec![]));
    // The token behind the window begins another document.
    let [_, _, targets, _] = gathered(Windows { context: 3, ..packed }, 0);
    assert_eq!(targets, [IGNORED, 11, IGNORED]);
    // In the other case it is still the answer.
    let [_, _, targets, _] = gathered(Windows { context: 2, ..packed }, 0);
    assert_eq!(targets, [IGNORED, 11]);
}

#[test]
fn bytes_are_those_of_the_predicted_tokens() {
    let lengths: Vec<u32> = (0..12).map(|id| if id == 11 { 5 } else { 1 }).collect();
    let windows = Windows { context: 4, ..Windows::default() };
    let bytes = |windows| judged_bytes(&Threes, windows, &lengths).unwrap();
    assert_eq!(bytes(windows), (5 * 3 + 3 + 2, 8));
    assert_eq!(bytes(Windows { separate: true, ..windows }), (5 * 3 + 3, 6));
    let answers = Windows { context: 9, after: Some(7), ..windows };
    assert_eq!(bytes(answers), (5 * 3, 3));
    assert_eq!(bytes(Windows { separate: true, ..answers }), (5 * 3, 3));
}

#[test]
fn only_what_follows_a_question_is_predicted() {
    let windows = Windows { context: 6, separate: true, after: Some(7), ..Windows::default() };
    let [_, _, targets, _] = gathered(windows, 0);
    assert_eq!(targets, [IGNORED, 11, IGNORED, IGNORED, 11, IGNORED]);
    // A window that begins behind the question's end cannot know that it was asked.
    let [_, _, targets, _] = gathered(Windows { context: 3, ..windows }, 2);
    assert_eq!(targets, [IGNORED, IGNORED, 11]);
}
