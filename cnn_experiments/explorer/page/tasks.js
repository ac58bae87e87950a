/**
 * The tasks of each network: predict first, then let the run itself answer. The words stand in the texts under
 * ``task.<words>.question`` and ``task.<words>.why``.
 */

import * as answers from "./task_answers.js";

const QUARTERS = ["top_left", "top_right", "bottom_left", "bottom_right"];

/** A task whose answer is a number. */
function number(words, values, answer, shows = {}) {
  return { words, values, kind: "number", answer, shows };
}

/** A task whose answer is one of some options: a list of keys of texts, or the run's classes, layers or branches. */
function choice(words, values, options, answer, shows = {}) {
  return { words, values, kind: "choice", options, answer, shows };
}

const HOW_MANY = ["none", "few", "many"];

export const TASKS = {
  lenet5: [
    number("inputs_c3", { layer: "c3", map: 0 }, answers.inputsOf("c3", 0, "s2"), {
      layer: "c3",
      value: { map: 0, row: 4, column: 4 },
    }),
    number("width", { layer: "s4" }, answers.fieldWidth("s4"), { layer: "s4" }),
    choice("parameters", {}, "layers", answers.largestLayer("parameters")),
    choice("operations", {}, "layers", answers.largestLayer("multiply_adds")),
    choice("second", {}, "classes", answers.secondClass(), { image: "7" }),
    choice("which_map", { layer: "c1" }, "maps of c1", answers.mostNeededMap("c1"), { image: "7", layer: "c1" }),
    choice("turns", { layer: "c3" }, HOW_MANY, answers.turningMaps("c3"), { image: "4", layer: "c3" }),
    choice("quarter", {}, QUARTERS, answers.mostNeededQuarter(), { image: "7" }),
    choice("nothing", {}, ["unsure", "rather", "sure"], answers.surenessOfNothing()),
    choice("moved", { pixels: 4 }, ["yes", "no"], answers.movedBy(4), { image: "2" }),
  ],
  alexnet: [
    number("inputs", { layer: "conv2", map: 0 }, answers.inputsBelow("conv2", 0), { layer: "conv2" }),
    number("width", { layer: "conv2" }, answers.fieldWidth("conv2"), { layer: "conv2" }),
    choice("parameters", {}, "layers", answers.largestLayer("parameters")),
    choice("operations", {}, "layers", answers.largestLayer("multiply_adds")),
    choice("dense_share", {}, ["less_half", "half", "nearly_all"], answers.shareOfDense()),
    choice("dead", { layer: "conv5" }, HOW_MANY, answers.deadMaps("conv5"), { image: "", layer: "conv5" }),
    choice("halves", { layer: "conv1" }, ["first_half", "second_half"], answers.mostNeededHalf("conv1"), {
      image: "",
      layer: "conv1",
    }),
    choice("turns", { layer: "conv1" }, HOW_MANY, answers.turningMaps("conv1"), { image: "", layer: "conv1" }),
    choice("quarter", {}, QUARTERS, answers.mostNeededQuarter(), { image: "" }),
  ],
  googlenet: [
    number("inputs", { layer: "conv1", map: 0 }, answers.inputsBelow("conv1", 0), { layer: "conv1" }),
    number("width", { layer: "inception3a" }, answers.fieldWidth("inception3a"), { layer: "inception3a" }),
    choice("parameters", {}, "layers", answers.largestLayer("parameters")),
    choice("operations", {}, "layers", answers.largestLayer("multiply_adds")),
    choice("branch", { layer: "inception3a" }, "branches of inception3a", answers.mostNeededBranch("inception3a"), {
      image: "",
      layer: "inception3a",
    }),
    choice("branch", { layer: "inception5b" }, "branches of inception5b", answers.mostNeededBranch("inception5b"), {
      image: "",
      layer: "inception5b",
    }),
    choice("dead", { layer: "inception5b" }, HOW_MANY, answers.deadMaps("inception5b"), {
      image: "",
      layer: "inception5b",
    }),
    choice("turns", { layer: "conv1" }, HOW_MANY, answers.turningMaps("conv1"), { image: "", layer: "conv1" }),
    choice("quarter", {}, QUARTERS, answers.mostNeededQuarter(), { image: "" }),
  ],
};
