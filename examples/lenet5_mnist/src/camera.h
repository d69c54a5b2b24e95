/*
 * camera.h - converts a grey frame of any size to the input of the network.
 *
 * MNIST's digits are white on black, with 20 pixels in the middle of the image. A camera shows dark
 * ink on unevenly lit paper, anywhere in its frame. So the square in the middle of the frame is
 * averaged down to 64 x 64, each cell is compared with the paper around it, and the ink is scaled
 * to 20 pixels and centred.
 */
#ifndef CAMERA_H
#define CAMERA_H

#include <stdint.h>
#include <string.h>

class DigitFinder {
  public:
    /*
     * Finds the digit in a frame [height][width], with 0 for black. Returns false if there is only
     * paper; then `digit` is black.
     */
    bool find(const uint8_t *frame, int width, int height, uint8_t (&digit)[32 * 32]) {
        reduce(frame, width, height);
        subtractFromPaper();
        memset(digit, 0, sizeof digit);
        const int darkest = max(0, 0, grid);
        if (darkest < leastInk) {
            return false;
        }
        const Box box = boxOf(darkest / 2);
        const int height20 = box.bottom - box.top, width20 = box.right - box.left;
        const int longest = height20 > width20 ? height20 : width20;
        // Coordinates in the grid are in 64ths; a step is a third of a pixel of the 32 x 32.
        const int step = longest * 64 / (3 * digitPixels) + 1;
        const int top = 32 * (box.top + box.bottom) - 48 * step;
        const int left = 32 * (box.left + box.right) - 48 * step;
        for (int i = 0; i < 32 * 32; ++i) {
            int sum = 0;
            for (int part = 0; part < 9; ++part) {
                sum += at(top + (3 * (i / 32) + part / 3) * step,
                          left + (3 * (i % 32) + part % 3) * step);
            }
            const int ink = (sum / 9 - darkest / 8) * 255 / (darkest - darkest / 8);
            digit[i] = static_cast<uint8_t>(ink < 0 ? 0 : ink > 255 ? 255 : ink);
        }
        return true;
    }

  private:
    enum { grid = 64, block = 8, blocks = grid / block, digitPixels = 20, leastInk = 40 };
    struct Box {
        int top, left, bottom, right;
    };
    uint8_t cells_[grid][grid]; // brightness, then ink

    /* The square in the middle of the frame, averaged down. */
    void reduce(const uint8_t *frame, int width, int height) {
        const int side = width < height ? width : height;
        const uint8_t *const square = frame + (height - side) / 2 * width + (width - side) / 2;
        for (int y = 0; y < grid; ++y) {
            const int top = y * side / grid, bottom = (y + 1) * side / grid;
            for (int x = 0; x < grid; ++x) {
                const int left = x * side / grid, right = (x + 1) * side / grid;
                int32_t sum = 0, count = 0; // enough for cells of 2,900 x 2,900 pixels
                for (int row = top; row < bottom || row == top; ++row) {
                    for (int column = left; column < right || column == left; ++column, ++count) {
                        sum += square[row * width + column];
                    }
                }
                cells_[y][x] = static_cast<uint8_t>(sum / count);
            }
        }
    }

    /* The difference of each cell to the brightest cell in its block and the adjacent blocks. */
    void subtractFromPaper() {
        uint8_t brightest[blocks][blocks];
        for (int i = 0; i < blocks * blocks; ++i) {
            brightest[i / blocks][i % blocks] =
                static_cast<uint8_t>(max(i / blocks * block, i % blocks * block, block));
        }
        for (int y = 0; y < grid; ++y) {
            for (int x = 0; x < grid; ++x) {
                int paper = 0;
                for (int near = 0; near < 9; ++near) {
                    const int row = y / block + near / 3 - 1, column = x / block + near % 3 - 1;
                    if (row >= 0 && row < blocks && column >= 0 && column < blocks &&
                        brightest[row][column] > paper) {
                        paper = brightest[row][column];
                    }
                }
                cells_[y][x] = static_cast<uint8_t>(paper - cells_[y][x]);
            }
        }
    }

    /* The maximum of a square of cells. */
    int max(int top, int left, int side) const {
        int greatest = 0;
        for (int y = top; y < top + side; ++y) {
            for (int x = left; x < left + side; ++x) {
                greatest = cells_[y][x] > greatest ? cells_[y][x] : greatest;
            }
        }
        return greatest;
    }

    /* The smallest box that contains all cells above a threshold. */
    Box boxOf(int threshold) const {
        Box box = {grid, grid, 0, 0};
        for (int y = 0; y < grid; ++y) {
            for (int x = 0; x < grid; ++x) {
                if (cells_[y][x] > threshold) {
                    box.top = y < box.top ? y : box.top;
                    box.left = x < box.left ? x : box.left;
                    box.bottom = y + 1 > box.bottom ? y + 1 : box.bottom;
                    box.right = x + 1 > box.right ? x + 1 : box.right;
                }
            }
        }
        return box;
    }

    int at(int y, int x) const {
        const bool inside = y >= 0 && y < 64 * grid && x >= 0 && x < 64 * grid;
        return inside ? cells_[y / 64][x / 64] : 0;
    }
};

#endif
