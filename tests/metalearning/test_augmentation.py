import torch

from service.metalearning.augmentation import AugmentationSettings, augmented, build_augmentation, coloured, moved


def dotted(n_images: int = 1) -> torch.Tensor:
    """White images of 9 px with one black pixel in the middle."""
    pixels = torch.full((n_images, 1, 9, 9), 255, dtype=torch.uint8)
    pixels[:, :, 4, 4] = 0
    return pixels


def test_no_distortion_changes_nothing(generator: torch.Generator) -> None:
    transform = build_augmentation(AugmentationSettings())

    assert torch.equal(augmented(dotted(), transform, generator), dotted())


def test_each_image_of_a_batch_is_distorted_by_itself(generator: torch.Generator) -> None:
    transform = build_augmentation(AugmentationSettings(shift=0.3))

    first, second = augmented(dotted(2), transform, generator)

    assert not torch.equal(first, second)


def test_the_generator_decides_the_distortion() -> None:
    transform = build_augmentation(AugmentationSettings(rotation_deg=20.0, shift=0.2, scale=0.2, shear_deg=10.0))

    one = augmented(dotted(4), transform, torch.Generator().manual_seed(3))
    same = augmented(dotted(4), transform, torch.Generator().manual_seed(3))

    assert torch.equal(one, same)


def test_the_global_generator_is_put_back(generator: torch.Generator) -> None:
    before = torch.random.get_rng_state()

    augmented(dotted(), build_augmentation(AugmentationSettings(rotation_deg=20.0)), generator)

    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_comes_into_view_is_white() -> None:
    torch.manual_seed(0)
    black = torch.zeros(8, 1, 9, 9, dtype=torch.uint8)

    shifted = moved(black, AugmentationSettings(shift=0.4))

    assert int(shifted[:, :, 4, 4].max()) == 0
    assert int(shifted.amax(dim=(1, 2, 3)).min()) == 255


def test_a_turn_leaves_the_middle_where_it_is() -> None:
    torch.manual_seed(0)

    turned = moved(dotted(8), AugmentationSettings(rotation_deg=30.0))

    assert turned[:, 0, 4, 4].tolist() == [0] * 8


def test_flips_mirror_some_images_and_keep_others(generator: torch.Generator) -> None:
    pixels = torch.arange(9, dtype=torch.uint8).expand(32, 3, 9, 9)

    flipped = augmented(pixels, build_augmentation(AugmentationSettings(flip=True)), generator)

    assert set(flipped[:, 0, 0, 0].tolist()) == {0, 8}


def test_colours_change_where_asked(generator: torch.Generator) -> None:
    pixels = torch.full((4, 3, 9, 9), 128, dtype=torch.uint8)

    changed = augmented(pixels, build_augmentation(AugmentationSettings(brightness=0.5)), generator)

    assert len(set(changed[:, 0, 0, 0].tolist())) > 1


def test_a_grey_image_keeps_its_grey_whatever_the_saturation() -> None:
    torch.manual_seed(0)
    grey = torch.full((4, 3, 2, 2), 128, dtype=torch.uint8)

    assert torch.equal(coloured(grey, AugmentationSettings(saturation=0.9, contrast=0.9)), grey)


def test_contrast_keeps_the_mean_and_changes_the_distance_from_it() -> None:
    torch.manual_seed(0)
    halves = torch.tensor([100, 140], dtype=torch.uint8).expand(8, 1, 1, 2)

    changed = coloured(halves, AugmentationSettings(contrast=0.5)).float()

    torch.testing.assert_close(changed.mean((1, 2, 3)), torch.full((8,), 120.0), rtol=0, atol=1)
    assert len(set((changed[..., 1] - changed[..., 0]).flatten().tolist())) > 1
