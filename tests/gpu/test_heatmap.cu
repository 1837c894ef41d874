// jetpose_heatmap against the CPU build: every refinement, odd sizes, broken maps, several block sizes.
#include "../../runtime/native/kernels.cu"
#include "harness.cuh"

static std::vector<float> gaussian(int taps, double sigma) {
  std::vector<float> weights(taps);
  double sum = 0;
  for (int i = 0; i < taps; ++i) sum += std::exp(-(i - taps / 2) * (i - taps / 2) / (2 * sigma * sigma));
  for (int i = 0; i < taps; ++i)
    weights[i] = (float)(std::exp(-(i - taps / 2) * (i - taps / 2) / (2 * sigma * sigma)) / sum);
  return weights;
}

int main() {
  harness::require_gpu();
  harness::Report report;
  const char* names[] = {"none", "quarter", "quarter_axis", "quarter_low", "second_max", "dark", "udp", "soft_argmax"};
  const int sizes[][2] = {{48, 64}, {33, 17}, {5, 5}, {1, 1}, {200, 3}};
  const int count = 20;
  for (const auto& size : sizes)
    for (int refine = 0; refine < 8; ++refine)
      for (int blur = 0; blur < 2; ++blur)
        for (int broken = 0; broken < 2; ++broken) {
          heatmap::Params p{};
          p.width = size[0];
          p.height = size[1];
          p.refine = refine;
          p.beta = 12;
          p.blur_taps = blur ? 9 : 0;
          p.kernel_taps = 11;
          const auto blur_weights = gaussian(9, 1.1), kernel_weights = gaussian(11, 2.0);
          std::copy(blur_weights.begin(), blur_weights.end(), p.blur);
          std::copy(kernel_weights.begin(), kernel_weights.end(), p.kernel);
          const auto maps = harness::random_maps(count, p.width, p.height, 7u * refine + p.width, broken);
          std::vector<float> wanted(3 * count), scratch(heatmap::scratch_size(p));
          for (int k = 0; k < count; ++k) {
            const auto point = heatmap::decode(SerialGroup{}, p, &maps[(std::size_t)k * p.width * p.height], scratch.data());
            wanted[3 * k] = point.x;
            wanted[3 * k + 1] = point.y;
            wanted[3 * k + 2] = point.score;
          }
          for (int threads : {32, 128, 256}) {
            harness::Device<float> input(maps), memory(heatmap::scratch_size(p) * count), out(3 * count);
            jetpose_heatmap<<<count, threads>>>(input.get(), p, memory.get(), out.get());
            harness::finish_kernel("jetpose_heatmap");
            const bool transcendental = refine >= 5;  // logf and expf differ in the last bits
            report.compare(std::string(names[refine]) + " " + std::to_string(p.width) + "x" + std::to_string(p.height) +
                               (blur ? " blurred" : "") + (broken ? " broken" : "") + " " + std::to_string(threads),
                           out.host(), wanted, transcendental ? 1e-3 : 1e-5);
          }
        }
  return report.exit_code();
}
