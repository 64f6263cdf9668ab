! SPDX-License-Identifier: Apache-2.0
!> A host that calls a TorchScript file through FTorch, all cells in one call; built where FTorch is installed.
!!
!! Arguments: the file, cells, levels of the inputs, levels of the outputs, and for a window of inputs its samples.
!! Answers each number of steps on standard input with the seconds of processor time and of the clock that they took.
program ftorch_host
   use, intrinsic :: iso_fortran_env, only: int64, output_unit, real32, real64
   use ftorch, only: torch_delete, torch_kCPU, torch_model, torch_model_forward, torch_model_load, torch_tensor, &
                     torch_tensor_from_array
   implicit none

   type(torch_model) :: model
   type(torch_tensor) :: inputs(1), outputs(1)
   character(len=512) :: file, text
   real(real32), allocatable, target :: features(:, :), windows(:, :, :), answers(:, :)
   real(real64) :: begin, end
   integer(int64) :: ticks(2), rate
   integer :: n(4), i, steps, status

   call get_command_argument(1, file)
   n = 0
   do i = 1, command_argument_count() - 1
      call get_command_argument(1 + i, text)
      read (text, *) n(i)
   end do
   allocate (answers(n(1), n(3)), source=0.0_real32)
   call torch_model_load(model, trim(file), torch_kCPU)
   ! Its quickest way: wrapped once, and read as torch keeps arrays, levels fastest.
   if (n(4) == 0) then
      allocate (features(n(1), n(2)), source=1.0_real32)
      call torch_tensor_from_array(inputs(1), features, [2, 1], torch_kCPU)
   else
      allocate (windows(n(1), n(4), n(2)), source=1.0_real32)
      call torch_tensor_from_array(inputs(1), windows, [3, 2, 1], torch_kCPU)
   end if
   call torch_tensor_from_array(outputs(1), answers, [2, 1], torch_kCPU)

   do
      read (*, *, iostat=status) steps
      if (status /= 0) exit
      call system_clock(ticks(1), rate)
      call cpu_time(begin)
      do i = 1, steps
         call torch_model_forward(model, inputs, outputs)
      end do
      call cpu_time(end)
      call system_clock(ticks(2))
      write (output_unit, '(2es23.15)') end - begin, real(ticks(2) - ticks(1), real64)/real(rate, real64)
      flush (output_unit)
   end do
   call torch_delete(inputs)
   call torch_delete(outputs)
   call torch_delete(model)
end program ftorch_host
