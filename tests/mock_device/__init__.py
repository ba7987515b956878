"""A CUDA device for machines that have none: tensors that say ``cuda:0``, go through torch's own dispatch for CUDA, and
compute on the CPU.

It shows what does not depend on a real device's arithmetic and speed: whether all tensors of an operation are on one device, when
the host waits for the device, how many operations a step has, whether every flow of the package gets to its end, and what
happens when memory runs out. It does not show times, cuDNN's rounding, or streams: operations are done when they return. Nor
can it run ddp: the part of DistributedDataParallel that is written in C++ asks the CUDA driver itself.

    ledger    what is counted, by source line
    tensors   the tensors, and what an operation on them does
    hooks     a patch of torch's CUDA hooks, so that a backward pass does not look for a driver
    graph     its CUDA graphs: what is recorded is done again with the same numbers and addresses
    cuda      the device: `mocked_cuda` makes torch and Lightning believe in it, and takes everything back
    count     prints the figures of a render: python -m tests.mock_device.count
"""
