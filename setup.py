from __future__ import annotations

import ast
from pathlib import Path

from setuptools import find_packages, setup

NAME = 'lotus2_ros'
# Resolved: colcon --symlink-install runs this file through a link in its build folder.
HERE = Path(__file__).resolve().parent


def version() -> str:
    """`__version__`, read and not imported: a build environment has none of the requirements."""
    tree = ast.parse((HERE / NAME / '__init__.py').read_text(encoding='utf-8'))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '__version__':
            return str(ast.literal_eval(node.value))
    raise RuntimeError(f'no __version__ in {NAME}/__init__.py')


def requirements(path: str) -> list[str]:
    """The lines of a requirements file without comments: lower bounds are written down once."""
    lines = (line.partition('#')[0].strip() for line in (HERE / path).read_text().splitlines())
    return [line for line in lines if line]


def files(pattern: str) -> list[str]:
    """Paths relative to this file, as data_files wants them; sorted, so that builds agree."""
    return sorted(str(p.relative_to(HERE)) for p in HERE.glob(pattern) if p.is_file())


setup(
    name=NAME,
    version=version(),
    description='Depth, surface normals and point clouds from one camera with Lotus-2, for ROS 2',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    # setuptools takes SPDX expressions since version 77 only; a ROS distribution has an older one.
    license='Apache-2.0',
    maintainer='lotus2_ros maintainers',
    maintainer_email='maintainers@lotus2-ros.example',
    keywords=['ROS'],
    # Jazzy runs on 3.12, Kilted too; typing.Self and NumPy 2.3 want 3.11.
    python_requires='>=3.11',
    packages=find_packages(exclude=['test', 'test.*']),
    package_data={
        NAME: [
            'py.typed',
            'models/**/*',
            'samples/**/*',
            'training/presets/*.yaml',
            'ros/fastdds.xml',
        ]
    },
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        (f'share/{NAME}/launch', files('launch/*.launch.py')),
        (f'share/{NAME}/config', files('config/*')),
        (f'share/{NAME}/config/nav2', files('config/nav2/*')),
    ],
    install_requires=requirements('requirements.txt'),
    extras_require={
        # Photographs, for textures and for evaluation on a real one; running needs none of these.
        # h5py reads Hypersim; tensorboard is what torch's writer of curves imports.
        'train': [
            'h5py>=3.8',
            'matplotlib>=3.7',
            'peft>=0.14',
            'scikit-image>=0.22',
            'scikit-learn>=1.3',
            'tensorboard>=2.14',
        ],
        # A second renderer's scenes to evaluate on.
        'evaluate': ['matplotlib>=3.7', 'mujoco>=3.2', 'scikit-image>=0.22', 'scikit-learn>=1.3'],
        # The simulated robot (sim_robot, lotus2 demo --world) and its plots.
        'simulation': ['matplotlib>=3.7', 'mujoco>=3.2'],
        # The released code's cost structure beside the model's, and a picture of both.
        'benchmark': ['matplotlib>=3.7', 'peft>=0.14', 'transformers>=5.0'],
        # FLUX's own text encoders, needed once where a model folder has no prompt embeddings.
        'prompt': ['transformers>=5.0'],
    },
    # A script in `lib/<package>` is zipped by nobody, but the bundled model is read as files.
    zip_safe=False,
    entry_points={
        'console_scripts': [
            'depth_node = lotus2_ros.ros.main:main',
            'camera_player = lotus2_ros.ros.player:main',
            'sim_robot = lotus2_ros.ros.robot:main',
            'lotus2 = lotus2_ros.tools.cli:main',
        ],
    },
)
