// SPDX-License-Identifier: Apache-2.0
// Torch alone, in C++: calls a TorchScript file on blocks of ones, without anything that a coupler does.
//
// Arguments: the file, threads, blocks, and the shape of a block. Answers each number of steps on standard input with
// the seconds of processor time and of the clock that they took; a step calls the module once for each block.
#include <ATen/Parallel.h>
#include <torch/script.h>

#include <chrono>
#include <ctime>
#include <iostream>
#include <string>
#include <vector>

int main(int argc, char **argv)
{
    if (argc < 5) return 1;
    at::set_num_threads(std::stoi(argv[2]));
    const c10::InferenceMode no_gradients;
    auto module = torch::jit::load(argv[1]);
    module.eval();
    module = torch::jit::freeze(module);
    auto forward = module.get_method("forward");

    std::vector<int64_t> shape;
    for (int i = 4; i < argc; i++) shape.push_back(std::stol(argv[i]));
    std::vector<torch::jit::Stack> blocks;
    for (int i = 0; i < std::stoi(argv[3]); i++) blocks.push_back({torch::ones(shape)});

    for (long steps; std::cin >> steps;) {
        const auto began = std::chrono::steady_clock::now();
        const auto processor = std::clock();
        for (long step = 0; step < steps; step++)
            for (const auto &block : blocks) forward(block);
        const double seconds = double(std::clock() - processor) / CLOCKS_PER_SEC;
        const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - began;
        std::cout << seconds << ' ' << elapsed.count() << std::endl;
    }
    return 0;
}
