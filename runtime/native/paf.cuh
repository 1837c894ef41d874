// People from confidence maps and part affinity fields (Cao et al. 2017, arXiv 1611.08050): peaks of every part, the
// connections of every limb, and the people they make. Four profiles follow four published decoders; what they do
// differently stands in each stage's header. The stages run one after the other: parts and limbs are independent of
// each other within a stage.
#pragma once
#include "paf_limbs.cuh"
#include "paf_peaks.cuh"
#include "paf_people.cuh"
